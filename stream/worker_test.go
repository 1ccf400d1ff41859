package stream_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
)

// worker is a Worker under test, on a connection of its own.
type worker struct {
	*stream.Worker

	nc   *nats.Conn
	log  *logs
	quit context.CancelFunc
	done chan struct{} // closed when Run has returned
	err  error         // of Run, once done is closed
}

// registration registers router the way most tests want it.
func registration(router routing.Router) routing.Registration {
	return routing.Registration{Name: "static", Router: router, Timeout: eventTimeout}
}

// newWorker returns a worker that does not run yet.
func (s *site) newWorker(t *testing.T, registrations []routing.Registration, opts ...stream.Option) *worker {
	t.Helper()
	isLocal := func(name presence.ServerName) bool { return name == s.config.ServerNames[0] }
	dispatcher, err := routing.NewDispatcher(registrations, routing.WithLocalServers(isLocal))
	if err != nil {
		t.Fatal(err)
	}
	return s.workerOf(t, dispatcher, opts...)
}

func (s *site) workerOf(t *testing.T, dispatcher *routing.Dispatcher, opts ...stream.Option) *worker {
	t.Helper()
	log := newLogs()
	nc, err := stream.Connect(t.Context(), s.url, log.logger(), s.options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	w, err := stream.NewWorker(nc, dispatcher, s.config, append([]stream.Option{stream.WithLogger(log.logger())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return &worker{Worker: w, nc: nc, log: log, done: make(chan struct{})}
}

// run begins to run w, for the length of the test at most.
func (w *worker) run(t *testing.T) {
	t.Helper()
	ctx, quit := context.WithCancel(t.Context())
	w.quit = quit
	go func() {
		defer close(w.done)
		w.err = w.Run(ctx)
	}()
	t.Cleanup(func() {
		quit()
		await(t, w.done, "end of Run")
		if t.Failed() {
			t.Logf("log of worker %s:\n%s", w.ID(), w.log)
		}
	})
}

// start starts a worker with one router and returns it when it is ready.
func (s *site) start(t *testing.T, router routing.Router, opts ...stream.Option) *worker {
	t.Helper()
	return s.startWith(t, []routing.Registration{registration(router)}, opts...)
}

func (s *site) startWith(t *testing.T, registrations []routing.Registration, opts ...stream.Option) *worker {
	t.Helper()
	w := s.newWorker(t, registrations, opts...)
	w.run(t)
	w.awaitReady(t)
	return w
}

func (w *worker) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, "ready worker", func() bool { return w.Ready() == nil })
}

// wait returns what Run returns.
func (w *worker) wait(t *testing.T) error {
	t.Helper()
	await(t, w.done, "end of Run")
	return w.err
}

// stop ends Run, which is to work out.
func (w *worker) stop(t *testing.T) {
	t.Helper()
	w.quit()
	if err := w.wait(t); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func allStacks() []byte {
	stacks := make([]byte, 4<<20)
	return stacks[:runtime.Stack(stacks, true)]
}
