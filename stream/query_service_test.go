package stream_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

func aliceAsks() wire.InterestedUsersRequest {
	return wire.InterestedUsersRequest{UserID: presence.MustUserID(alice)}
}

// stats asks the service for its statistics.
func (s *site) stats(t *testing.T) micro.Stats {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	reply, err := s.nc.RequestWithContext(ctx, "$SRV.STATS."+wire.ServiceName, nil)
	if err != nil {
		t.Fatal(err)
	}
	var stats micro.Stats
	if err := json.Unmarshal(reply.Data, &stats); err != nil {
		t.Fatal(err)
	}
	return stats
}

func TestQueryServiceIsAMicroService(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, matrix{alice: {bob}})
	s.interestedUsers(t, aliceAsks())
	_, err := s.ask(t, wire.InterestedUsers, []byte("{}"))
	wantQueryError(t, err, wire.CodeInvalid, "user_id is missing")
	s.wantLikeMicro(t)

	stats := s.stats(t)
	if stats.Name != "presence-router" || stats.Version != "1.0.0" || len(stats.Endpoints) != len(wire.Queries()) {
		t.Errorf("the service is %s %s with %d endpoints, want presence-router 1.0.0 with %d",
			stats.Name, stats.Version, len(stats.Endpoints), len(wire.Queries()))
	}
	for _, e := range stats.Endpoints {
		if !slices.Contains(wire.Queries(), e.Name) || e.Subject != s.subjects.Query(e.Name) || e.QueueGroup != "presence-router" {
			t.Errorf("endpoint %s has subject %s and queue group %s", e.Name, e.Subject, e.QueueGroup)
		}
		if e.Name == wire.InterestedUsers && (e.NumRequests != 2 || e.NumErrors != 1 || e.LastError != "400" || e.AverageProcessingTime != e.ProcessingTime/2) {
			t.Errorf("%s has %+v, want 2 requests, the last with an error", e.Name, *e)
		}
		var data struct {
			Answered, Failed int
			ProcessingTime   int64 `json:"processing_time"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		if e.Name == wire.InterestedUsers && (data.Answered != 1 || data.Failed != 1 || data.ProcessingTime <= 0) {
			t.Errorf("statistics of %s are %s, want 1 answered and 1 failed", e.Name, e.Data)
		}
	}
}

// wantLikeMicro checks that the service describes itself as one of package micro does.
func (s *site) wantLikeMicro(t *testing.T) {
	t.Helper()
	describe := func(verb, id string) (description map[string]any) {
		for _, of := range []string{"", ".presence-router", ".presence-router." + id} {
			reply, err := s.nc.Request("$SRV."+verb+of, nil, eventTimeout)
			if err != nil {
				t.Fatalf("ask $SRV.%s%s: %v", verb, of, err)
			}
			description = nil
			if err := json.Unmarshal(reply.Data, &description); err != nil {
				t.Fatal(err)
			}
		}
		return description
	}
	ours := map[string]map[string]any{}
	id := s.stats(t).ID
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		ours[verb] = describe(verb, id)
	}
	service, err := micro.AddService(s.nc, micro.Config{
		Name: "presence-router", Version: "1.0.0", Description: "answers who receives whose presence", QueueGroup: "presence-router",
		StatsHandler: func(*micro.Endpoint) any { return struct{}{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range wire.Queries() {
		if err := service.AddEndpoint(query, micro.HandlerFunc(func(micro.Request) {}), micro.WithEndpointSubject(s.subjects.Query(query))); err != nil {
			t.Fatal(err)
		}
	}
	for verb, got := range ours {
		want := describe(verb, service.Info().ID)
		for _, changing := range []string{"id", "started"} {
			delete(got, changing)
			delete(want, changing)
		}
		if verb == "STATS" { // whose values change
			got, want = keysOf(got), keysOf(want)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("$SRV.%s answers %v, one of package micro %v", verb, got, want)
		}
	}
	if err := service.Stop(); err != nil {
		t.Error(err)
	}
}

// keysOf returns the keys of statistics.
func keysOf(stats map[string]any) map[string]any {
	keys := make(map[string]any)
	for key := range stats {
		keys[key] = nil
	}
	endpoints, _ := stats["endpoints"].([]any)
	for _, e := range endpoints {
		one, _ := e.(map[string]any)
		for key := range one {
			keys["endpoints."+key] = nil
		}
	}
	return keys
}

func TestQueriesAreMeasured(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	reader := metric.NewManualReader()
	w := s.start(t, matrix{alice: {bob}}, stream.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
	s.interestedUsers(t, aliceAsks())
	_, err := s.ask(t, wire.CurrentStates, []byte("{}"))
	wantQueryError(t, err, wire.CodeInvalid)
	w.stop(t)
	m := collect(t, reader)
	if m.values["presence_router_queries{code=200,query=interested_users}"] != 1 || m.values["presence_router_queries{code=400,query=current_states}"] != 1 {
		t.Errorf("queries are counted as %v, want one by code and query each", m.values)
	}
	if m.counts["presence_router_query_duration{query=interested_users}"] != 1 {
		t.Errorf("durations are %v, want one of interested_users", m.counts)
	}
}

// gate is a router that answers about alice once it is opened, about others at
// once.
type gate struct {
	entered chan struct{} // a value for each question about alice
	opened  chan struct{}
}

func newGate() gate { return gate{entered: make(chan struct{}, 1000), opened: make(chan struct{})} }

func (g gate) router(t *testing.T) routing.Router {
	t.Helper()
	return interested(t, func(ctx context.Context, user presence.UserID) (routing.Interest, error) {
		if user.String() != alice {
			return routing.Users(), nil
		}
		g.entered <- struct{}{}
		select {
		case <-g.opened:
			return routing.Users(presence.MustUserID(bob)), nil
		case <-ctx.Done():
			return routing.Interest{}, ctx.Err()
		}
	})
}

// later asks about alice and does not wait for the answer.
func (s *site) later(t *testing.T) <-chan *nats.Msg {
	t.Helper()
	return s.send(t, aliceAsks().Append(nil))
}

// send sends a request about interested users and does not wait for the answer.
func (s *site) send(t *testing.T, request []byte) <-chan *nats.Msg {
	t.Helper()
	inbox := s.nc.NewInbox()
	replies := make(chan *nats.Msg, 1)
	if _, err := s.nc.ChanSubscribe(inbox, replies); err != nil {
		t.Fatal(err)
	}
	if err := s.nc.PublishRequest(s.subjects.Query(wire.InterestedUsers), inbox, request); err != nil {
		t.Fatal(err)
	}
	return replies
}

func queryError(m *nats.Msg) error {
	return wire.DecodeQueryError(m.Header.Get(wire.ErrorCodeHeader), m.Header.Get(wire.ErrorHeader))
}

func TestSlowQueryHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s, g := newSite(t), newGate()
	s.start(t, g.router(t))
	slow := s.later(t)
	await(t, g.entered, "question to the router")
	s.interestedUsers(t, wire.InterestedUsersRequest{UserID: presence.MustUserID(carol)})
	close(g.opened)
	if err := queryError(await(t, slow, "answer")); err != nil {
		t.Errorf("the slow query ended with %v", err)
	}
}

func TestTooManyQueriesAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.Queries.Concurrency, c.Worker.Queries.Waiting = 1, 1 })
	g := newGate()
	s.start(t, g.router(t))
	running := s.later(t)
	await(t, g.entered, "question to the router")
	waiting := s.later(t)
	_, err := s.ask(t, wire.InterestedUsers, aliceAsks().Append(nil))
	wantQueryError(t, err, wire.CodeUnavailable, "too many queries are waiting, see worker.queries.waiting")
	close(g.opened)
	for _, replies := range []<-chan *nats.Msg{running, waiting} {
		if err := queryError(await(t, replies, "answer")); err != nil {
			t.Errorf("a query that was taken ended with %v", err)
		}
	}
}

func TestTooManyBytesOfQueriesAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.Queries.MaxBytes = 1 << 20 })
	g := newGate()
	s.start(t, g.router(t))
	large := append(aliceAsks().Append(nil), bytes.Repeat([]byte(" "), 600<<10)...)
	running := s.send(t, large)
	await(t, g.entered, "question to the router")
	wantQueryError(t, queryError(await(t, s.send(t, large), "answer")), wire.CodeUnavailable, "too many bytes", "see worker.queries.max_bytes")
	small := s.later(t) // there is room for it
	await(t, g.entered, "question to the router")
	close(g.opened)
	for _, replies := range []<-chan *nats.Msg{running, small} {
		if err := queryError(await(t, replies, "answer")); err != nil {
			t.Errorf("a query that was taken ended with %v", err)
		}
	}
	eventually(t, "room for a large query", func() bool { return queryError(await(t, s.send(t, large), "answer")) == nil })
}

// flood is a connection that, while it is closed, reads nothing where it is one
// that takes queries.
type flood struct {
	net.Conn

	takesQueries atomic.Bool
	gate         *sync.RWMutex
}

func (f *flood) Write(data []byte) (int, error) {
	if bytes.Contains(data, []byte("SUB presence.router.")) {
		f.takesQueries.Store(true)
	}
	return f.Conn.Write(data)
}

func (f *flood) Read(data []byte) (int, error) {
	n, err := f.Conn.Read(data)
	if f.takesQueries.Load() {
		f.gate.RLock()
		defer f.gate.RUnlock()
	}
	return n, err
}

// More requests than a worker can read have the server cut a connection, but not
// the one that routes.
func TestQueriesThatAreTooManyToReadDoNotDisturbRouting(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var gate sync.RWMutex
	s.options = append(s.options, nats.SetCustomDialer(dialer(func(network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(t.Context(), network, address)
		return &flood{Conn: conn, gate: &gate}, err
	})))
	w := s.start(t, matrix{alice: {bob}})
	s.interestedUsers(t, aliceAsks())
	gate.Lock()
	open := sync.OnceFunc(gate.Unlock)
	defer open()
	large := append(aliceAsks().Append(nil), bytes.Repeat([]byte(" "), 1000<<10)...)
	for range 100 { // more than a server has wait for one connection, and than the sockets hold
		s.send(t, large)
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	s.awaitPosition(t, s.publish(t, bob, 1))
	if err := w.Ready(); err != nil {
		t.Errorf("the worker waits: %v", err)
	}
	open()
	w.log.await(t, "reconnected to NATS")
	eventually(t, "answer", func() bool {
		_, err := s.nc.Request(s.subjects.Query(wire.InterestedUsers), aliceAsks().Append(nil), eventTimeout)
		return err == nil
	})
	if got := w.nc.Stats().Reconnects; got != 0 {
		t.Errorf("the connection that routes was made anew %d times, want never", got)
	}
}

func TestQueryHasADeadline(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Worker.Queries.Concurrency, c.Worker.Queries.Timeout = 1, 50*time.Millisecond
	})
	s.start(t, newGate().router(t))
	running, waiting := s.later(t), s.later(t)
	for _, replies := range []<-chan *nats.Msg{running, waiting} {
		wantQueryError(t, queryError(await(t, replies, "answer")), wire.CodeUnavailable, "no answer in time, see worker.queries")
	}
}

func TestStoppingWorkerAnswersWhatItTook(t *testing.T) {
	t.Parallel()
	s, g := newSite(t), newGate()
	w := s.start(t, g.router(t))
	taken := s.later(t)
	await(t, g.entered, "question to the router")
	w.quit()
	eventually(t, "end of the service", func() bool {
		_, err := s.nc.Request(s.subjects.Query(wire.InterestedUsers), []byte("{}"), eventTimeout)
		return errors.Is(err, nats.ErrNoResponders)
	})
	close(g.opened)
	if err := queryError(await(t, taken, "answer")); err != nil {
		t.Errorf("a query that was taken ended with %v", err)
	}
	if err := w.wait(t); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestStoppingWorkerGivesUpLongQueries(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.StopTimeout = time.Second })
	g := newGate()
	w := s.start(t, g.router(t))
	taken := s.later(t)
	await(t, g.entered, "question to the router")
	w.stop(t)
	wantQueryError(t, queryError(await(t, taken, "answer")), wire.CodeUnavailable, "not done within worker.stop_timeout")
}

func TestQueriesAtOnceAreAnsweredEachItsOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, interested(t, func(_ context.Context, user presence.UserID) (routing.Interest, error) {
		return routing.Users(user), nil
	}))
	var clients sync.WaitGroup
	for client := range 16 {
		clients.Go(func() {
			for n := range 50 {
				user := presence.MustUserID(fmt.Sprintf("@user%d-%s:example.com", client, strings.Repeat("x", n)))
				request := wire.InterestedUsersRequest{UserID: user}.Append(nil)
				reply, err := s.nc.Request(s.subjects.Query(wire.InterestedUsers), request, eventTimeout)
				if err != nil {
					t.Errorf("ask: %v", err)
					return
				}
				if want := (wire.InterestedUsersAnswer{Users: []presence.UserID{user}}).Append(nil); !bytes.Equal(reply.Data, want) {
					t.Errorf("the answer is %s, want %s", reply.Data, want)
				}
			}
		})
	}
	clients.Wait()
}

// Whatever is asked while a worker leaves is answered, or nobody is there to ask.
func TestNoQueryIsLostWhenAWorkerLeaves(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, matrix{alice: {bob}})
	var clients sync.WaitGroup
	asked := make(chan struct{}, 8)
	for range cap(asked) {
		clients.Go(func() {
			for first := true; ; first = false {
				_, err := s.nc.Request(s.subjects.Query(wire.InterestedUsers), aliceAsks().Append(nil), eventTimeout)
				if err != nil {
					if !errors.Is(err, nats.ErrNoResponders) {
						t.Errorf("ask: %v", err)
					}
					return
				}
				if first {
					asked <- struct{}{}
				}
			}
		})
	}
	for range cap(asked) {
		await(t, asked, "first answer")
	}
	w.stop(t)
	clients.Wait()
}
