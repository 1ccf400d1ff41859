package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/wire"
)

var errQueryTimeout = errors.New("no answer in time, see worker.queries: ask again")

// errStopTimeout is why queries end that are not answered in time.
var errStopTimeout = errors.New("not done within worker.stop_timeout")

// ServiceConfig is what a Service is made of.
type ServiceConfig struct {
	Bounds      Config
	Subjects    wire.Subjects
	Inbox       string // prefix of the inboxes of the connection, "" for the default
	Dispatcher  *routing.Dispatcher
	IsLocal     func(presence.ServerName) bool
	Coalesce    bool               // keep only the newest state per user in one delivery
	HasStates   bool               // whether newest states are kept
	Layout      func() wire.Layout // that is served
	MaxUpdate   int                // bytes of one state in a request
	MaxDelivery int                // bytes; a larger delivery is split
	Shards      int
	StopTimeout time.Duration // for what has arrived when the service stops

	// connect makes a connection for a purpose, as that of the worker but for changes.
	Connect func(ctx context.Context, what string, changes ...nats.Option) (*nats.Conn, error)
	Changes []nats.Option     // of the connection that takes queries and sends answers
	Explain func(error) error // puts what is wrong with the servers before an error

	Log   *slog.Logger
	Meter metric.Meter
}

// Service answers queries: a NATS micro service that hands its requests to a
// bounded number of goroutines, because all requests of an endpoint come in on one.
type Service struct {
	ServiceConfig

	replies   replies
	telemetry *telemetry
}

// New returns a service that does not answer yet.
func New(c ServiceConfig) (*Service, error) {
	allowed, err := newReplies(c.Inbox, c.Bounds, c.Subjects)
	if err != nil {
		return nil, err
	}
	t, err := newTelemetry(c.Meter)
	if err != nil {
		return nil, err
	}
	return &Service{ServiceConfig: c, replies: allowed, telemetry: t}, nil
}

// Begin has the counters whose labels are known exist.
func (w *Service) Begin(ctx context.Context) { w.telemetry.begin(ctx) }

// queryService is a Service that answers.
type queryService struct {
	connections   queryConnections
	subjects      wire.Subjects
	subscriptions []*nats.Subscription
	replies       replies
	misdirected   *misdirected
	questions     *pool
	replays       *pool
	outgoing      outgoing
	explain       func(error) error
	log           *slog.Logger
}

// endpoint is one query of the service.
type endpoint struct {
	name    string
	pool    *pool
	timeout time.Duration                                                  // from the arrival of a request to its answer
	answer  func(ctx context.Context, dst, request []byte) ([]byte, error) // appends the answer to dst
	measure queryTelemetry
	tally   tally
}

// Start begins to answer queries. It stops when ctx ends or when the returned
// function is called, which waits for the answers that are under way.
func (w *Service) Start(ctx context.Context) (stop func(), err error) {
	connections, err := w.connections(ctx)
	if err != nil {
		return nil, err
	}
	s := &queryService{
		connections: connections,
		subjects:    w.Subjects,
		replies:     w.replies,
		misdirected: &misdirected{log: w.Log, telemetry: w.telemetry},
		questions:   newPool(w.Bounds.Concurrency, w.Bounds.Waiting, w.Bounds.MaxBytes),
		replays:     newPool(w.Bounds.Replays, w.Bounds.Waiting, w.Bounds.MaxBytes),
		outgoing:    outgoing{nc: connections.answers, log: w.Log},
		explain:     w.Explain,
		log:         w.Log,
	}
	work, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	stopOnce := sync.OnceFunc(func() { s.stop(work, w.StopTimeout, abandon) })
	endpoints, err := w.endpoints(s)
	if err == nil {
		err = s.serve(work, endpoints)
	}
	if err != nil {
		stopOnce()
		return nil, fmt.Errorf("start the query service: %w", err)
	}
	unwatch := context.AfterFunc(ctx, stopOnce)
	return func() {
		unwatch()
		stopOnce()
	}, nil
}

// endpoints returns the queries that w answers.
func (w *Service) endpoints(s *queryService) ([]*endpoint, error) {
	a, err := w.answerer(s.connections)
	if err != nil {
		return nil, err
	}
	endpoints := []*endpoint{
		{name: wire.InterestedUsers, pool: s.questions, timeout: w.Bounds.Timeout, answer: a.interestedUsers},
		{name: wire.UsersForStates, pool: s.questions, timeout: w.Bounds.Timeout, answer: a.usersForStates},
		{name: wire.SendOnlinePresence, pool: s.replays, timeout: w.Bounds.ReplayTimeout, answer: a.sendOnlinePresence},
		{name: wire.CurrentStates, pool: s.questions, timeout: w.Bounds.Timeout, answer: a.currentStates},
	}
	for _, e := range endpoints {
		e.measure = w.telemetry.forQuery(e.name)
	}
	return endpoints, nil
}

// serve takes requests. Queries end with work.
func (s *queryService) serve(work context.Context, endpoints []*endpoint) error {
	for _, e := range endpoints {
		if err := s.subscribe(s.subjects.Query(e.name), wire.ServiceName, s.handler(work, e)); err != nil {
			return err
		}
	}
	if err := newDiscovery(endpoints, s.subjects).subscribe(work, s); err != nil {
		return err
	}
	_ = s.connections.answers.FlushTimeout(jsapi.Timeout) // Where the connection has broken, it takes requests when it is back.
	return nil
}

// subscribe has handle take what comes to subject, with no queue group if that is "".
func (s *queryService) subscribe(subject, group string, handle nats.MsgHandler) error {
	subscription, err := s.connections.answers.QueueSubscribe(subject, group, handle)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	s.subscriptions = append(s.subscriptions, subscription)
	return nil
}

// handler hands a request on; it runs in the goroutine of the subscription. A request
// that may not be answered is not worked on.
func (s *queryService) handler(work context.Context, e *endpoint) nats.MsgHandler {
	return func(m *nats.Msg) {
		to, ok := s.replies.check(m.Reply)
		if !ok {
			s.misdirected.add(work, e.name, m.Reply)
			return
		}
		q := asked{endpoint: e, reply: to, request: m.Data, arrived: time.Now()}
		if err := e.pool.submit(len(q.request), func() { s.answer(work, q) }); err != nil {
			s.respond(work, q, nil, &wire.QueryError{Code: wire.CodeUnavailable, Err: err})
		}
	}
}

// asked is one request.
type asked struct {
	endpoint *endpoint
	reply    reply
	request  []byte
	arrived  time.Time
}

func (s *queryService) answer(work context.Context, q asked) {
	defer q.endpoint.pool.release(len(q.request))
	ctx, cancel := context.WithDeadlineCause(work, q.arrived.Add(q.endpoint.timeout), errQueryTimeout)
	defer cancel()
	if ctx.Err() != nil { // it waited for too long
		s.respond(work, q, nil, unanswered(ctx, ctx.Err()))
		return
	}
	answer, err := q.endpoint.answer(ctx, s.outgoing.buffer(), q.request)
	if err != nil {
		s.respond(work, q, nil, unanswered(ctx, s.explain(err)))
		return
	}
	s.respond(work, q, answer, nil)
}

// respond sends the answer, or the error where there is one.
func (s *queryService) respond(ctx context.Context, q asked, answer []byte, failed *wire.QueryError) {
	var header nats.Header
	code := codeAnswered
	if failed != nil {
		code = int(failed.Code)
		header = nats.Header{wire.ErrorHeader: {sentence(failed)}, wire.ErrorCodeHeader: {strconv.Itoa(code)}}
	}
	took := time.Since(q.arrived)
	q.endpoint.tally.add(took, code)
	q.endpoint.measure.responded(ctx, code, took)
	s.outgoing.send(q.reply, header, answer)
}

// stop takes no more requests, answers those that have arrived, and gives up what
// is not answered in time.
func (s *queryService) stop(work context.Context, timeout time.Duration, abandon context.CancelCauseFunc) {
	bounded, cancel := context.WithTimeoutCause(work, timeout, errStopTimeout)
	defer cancel()
	defer context.AfterFunc(bounded, func() { abandon(context.Cause(bounded)) })()
	s.drain(bounded)
	s.questions.close()
	s.replays.close()
	_ = s.connections.answers.FlushWithContext(bounded) // Without a connection the answers have nowhere to go.
	s.connections.close()
	abandon(errStopping)
}
