package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/presence-router/presence-router/stream/wire"
)

var errQueryTimeout = errors.New("no answer in time, see worker.queries: ask again")

// queryService answers queries: a NATS micro service that hands its requests to a
// bounded number of goroutines, because all requests of an endpoint come in on one.
type queryService struct {
	nc        *nats.Conn
	subjects  wire.Subjects
	service   micro.Service
	questions *pool
	replays   *pool
	outgoing  outgoing
	log       *slog.Logger
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

// startQueries begins to answer queries on a connection of their own. It stops when ctx ends or when the
// returned function is called, which waits for the answers that are under way.
func (w *Worker) startQueries(ctx context.Context) (stop func(), err error) {
	nc, err := w.connectForQueries(ctx)
	if err != nil {
		return nil, err
	}
	bounds := w.config.Worker.Queries
	s := &queryService{
		nc:        nc,
		subjects:  w.subjects,
		questions: newPool(bounds.Concurrency, bounds.Waiting, bounds.MaxBytes),
		replays:   newPool(bounds.Replays, bounds.Waiting, bounds.MaxBytes),
		outgoing:  outgoing{nc: nc, log: w.options.log},
		log:       w.options.log,
	}
	work, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	stopOnce := sync.OnceFunc(func() { s.stop(work, w.config.Worker.StopTimeout, abandon) })
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
func (w *Worker) endpoints(s *queryService) ([]*endpoint, error) {
	a, err := w.answerer(s.nc)
	if err != nil {
		return nil, err
	}
	bounds := w.config.Worker.Queries
	endpoints := []*endpoint{
		{name: wire.InterestedUsers, pool: s.questions, timeout: bounds.Timeout, answer: a.interestedUsers},
		{name: wire.UsersForStates, pool: s.questions, timeout: bounds.Timeout, answer: a.usersForStates},
		{name: wire.CurrentStates, pool: s.questions, timeout: bounds.Timeout, answer: a.currentStates},
		{name: wire.SendOnlinePresence, pool: s.replays, timeout: bounds.ReplayTimeout, answer: a.sendOnlinePresence},
	}
	for _, e := range endpoints {
		e.measure = w.telemetry.forQuery(e.name)
	}
	return endpoints, nil
}

// serve registers the service. Queries end with work.
func (s *queryService) serve(work context.Context, endpoints []*endpoint) (err error) {
	s.service, err = micro.AddService(s.nc, micro.Config{
		Name:         wire.ServiceName,
		Version:      wire.ServiceVersion,
		Description:  "answers who receives whose presence",
		QueueGroup:   wire.ServiceName,
		StatsHandler: statsOf(endpoints),
	})
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		subject := micro.WithEndpointSubject(s.subjects.Query(e.name))
		if err := s.service.AddEndpoint(e.name, s.handler(work, e), subject); err != nil {
			return fmt.Errorf("add endpoint %s: %w", e.name, err)
		}
	}
	_ = s.nc.FlushTimeout(apiTimeout) // Where the connection has broken, it takes requests when it is back.
	return nil
}

// handler hands a request on; it runs in the goroutine of the subscription. The
// answer does not go through the request, whose statistics micro keeps without a
// lock.
func (s *queryService) handler(work context.Context, e *endpoint) micro.HandlerFunc {
	return func(r micro.Request) {
		arrived := time.Now()
		q := asked{endpoint: e, reply: r.Reply(), request: r.Data(), arrived: arrived}
		if err := e.pool.submit(len(q.request), func() { s.answer(work, q) }); err != nil {
			s.respond(work, q, nil, &wire.QueryError{Code: wire.CodeUnavailable, Err: err})
		}
	}
}

// asked is one request.
type asked struct {
	endpoint *endpoint
	reply    string
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
		s.respond(work, q, nil, unanswered(ctx, err))
		return
	}
	s.respond(work, q, answer, nil)
}

// respond sends the answer, or the error where there is one.
func (s *queryService) respond(ctx context.Context, q asked, answer []byte, failed *wire.QueryError) {
	message := nats.Msg{Subject: q.reply, Data: answer}
	code := codeAnswered
	if failed != nil {
		code = int(failed.Code)
		message.Header = nats.Header{wire.ErrorHeader: {sentence(failed)}, wire.ErrorCodeHeader: {strconv.Itoa(code)}}
	}
	took := time.Since(q.arrived)
	q.endpoint.tally.add(took, failed != nil)
	q.endpoint.measure.responded(ctx, code, took)
	if q.reply != "" { // somebody waits for it
		s.outgoing.send(message)
	}
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
	_ = s.nc.FlushWithContext(bounded) // Without a connection the answers have nowhere to go.
	s.nc.Close()
	abandon(errStopping)
}
