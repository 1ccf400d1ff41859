package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

const (
	latencyTimeout = 30 * time.Second       // for what is under way at the end
	shortestSleep  = 250 * time.Microsecond // else sleeping takes the CPU that the workers need
)

// steady is one measurement of latency: updates are published at a steady rate,
// whatever becomes of them, and a reader waits for their deliveries. Latency is the
// time from when an update was due to be published to when its delivery is read.
type steady struct {
	ground *ground
	load   *load
	rate   float64 // updates per second, infinite for as fast as the server takes them
	total  int

	began    time.Time
	done     chan struct{} // closed when all deliveries are read, or failed is set
	finish   func()        // closes done, once
	mu       sync.Mutex
	seen     int
	measured []time.Duration
	failed   error
}

func (s *steady) measure(ctx context.Context) (f Figures, err error) {
	s.done = make(chan struct{})
	s.finish = sync.OnceFunc(func() { close(s.done) })
	if err := s.ground.renew(ctx, s.load.workload.Partitions); err != nil {
		return Figures{}, err
	}
	workers, err := s.ground.hire("", s.load)
	defer func() { err = errors.Join(err, workers.dismiss()) }()
	if err != nil {
		return Figures{}, err
	}
	ctx, release := workers.whileAtWork(ctx)
	defer release()
	if err := s.awaitClaims(ctx); err != nil {
		return Figures{}, err
	}
	reading, err := s.read(ctx)
	if err != nil {
		return Figures{}, err
	}
	defer reading.Stop()
	if err := s.publish(ctx); err != nil {
		return Figures{}, err
	}
	over := time.Now()
	if err := s.await(ctx); err != nil {
		return Figures{}, err
	}
	if math.IsInf(s.rate, 1) { // What comes through counts, else what was published.
		over = time.Now()
	}
	f = latencies(s.measured)
	f.Updates = float64(s.total) / over.Sub(s.began).Seconds()
	return f, nil
}

// awaitClaims waits until every partition has a checkpoint.
func (s *steady) awaitClaims(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	gauge := s.ground.count(1)
	defer gauge.stop()
	for {
		n, err := gauge.next(ctx)
		if err != nil {
			return fmt.Errorf("wait for the worker: %w", err)
		}
		if n.done >= s.load.workload.Partitions {
			return nil
		}
	}
}

func (s *steady) read(ctx context.Context) (jetstream.ConsumeContext, error) {
	consumer, err := s.ground.js.OrderedConsumer(ctx, s.ground.subjects.DeliveriesStream(), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{s.ground.subjects.Deliveries()},
	})
	if err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	consuming, err := consumer.Consume(s.received, jetstream.PullMaxMessages(pending))
	if err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	return consuming, nil
}

// received notes the latency of the updates in a delivery, but for the first
// tenth of all.
func (s *steady) received(m jetstream.Msg) {
	at := time.Now()
	delivery, err := wire.DecodeDelivery(m.Data())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed = err
		s.finish()
		return
	}
	for i := range delivery.States {
		sequence := delivery.States[i].Published().Position
		if n := int(sequence) - 1; float64(n) >= warmUp*float64(s.total) { //nolint:gosec // It fits.
			s.measured = append(s.measured, at.Sub(s.due(n)))
		}
		if s.seen++; s.seen == s.total {
			s.finish()
		}
	}
}

// due returns when the n-th update is to be published.
func (s *steady) due(n int) time.Time {
	return s.began.Add(time.Duration(float64(n) / s.rate * float64(time.Second)))
}

func (s *steady) publish(ctx context.Context) error {
	p, err := s.ground.publishing()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.began = time.Now()
	s.mu.Unlock()
	for n := range s.total {
		if ctx.Err() != nil {
			return fmt.Errorf("publish updates: %w", context.Cause(ctx))
		}
		for early := time.Until(s.due(n)); early > 0; early = time.Until(s.due(n)) {
			sleep(max(early, shortestSleep))
		}
		u := s.load.update(n)
		if err := p.publish(u.subject, u.data); err != nil {
			return err
		}
	}
	return p.done(ctx)
}

func (s *steady) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, latencyTimeout)
	defer cancel()
	select {
	case <-s.done:
	case <-ctx.Done():
		return fmt.Errorf("%d of %d updates have come as deliveries: %w", s.arrived(), s.total, context.Cause(ctx))
	}
	return s.failed
}

func (s *steady) arrived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}
