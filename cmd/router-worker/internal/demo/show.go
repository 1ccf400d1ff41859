package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/capture"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

// patience bounds how long nothing may happen before the show is given up.
const patience = 30 * time.Second

// show plays the capture and watches what comes of it.
type show struct {
	demo     Demo
	config   config.Config
	js       jetstream.JetStream
	client   *client.Client
	subjects wire.Subjects

	// Of the goroutine in run alone.
	began      time.Time
	finished   time.Time      // when the last commit was seen
	published  int            // updates that the server acknowledged
	played     bool           // all of the capture is published
	committed  map[int]uint64 // by partition
	deliveries int            // written out
	states     int
	recipients map[presence.UserID]bool
	tally      *tally // nil until everything is published
	broken     error  // why the output takes no more
}

// event is something that happened on the server, told to the goroutine in run.
type event func() error

// run returns when the show is over and what it started has ended.
func (s *show) run(ctx context.Context) error {
	s.committed, s.recipients = make(map[int]uint64), make(map[presence.UserID]bool)
	playing, end := context.WithCancelCause(ctx)
	events := make(chan event)
	var players sync.WaitGroup
	s.began = time.Now()
	s.say("%s", terminal.DeliveryHeading())
	for _, play := range []func(context.Context, chan<- event) error{s.followDeliveries, s.watchCheckpoints, s.publish} {
		players.Go(func() {
			if err := play(playing, events); err != nil {
				end(err)
			}
		})
	}
	err := s.watch(playing, events)
	end(nil)
	players.Wait()
	if ctx.Err() != nil && !s.finished.IsZero() {
		return nil // who kept the demo has seen enough
	}
	return err
}

// watch handles events until everything is there, and on where the demo is kept.
func (s *show) watch(ctx context.Context, events <-chan event) error {
	idle := time.NewTimer(patience)
	defer idle.Stop()
	for s.finished.IsZero() || s.demo.Keep {
		select {
		case happened := <-events:
			if err := errors.Join(happened(), s.broken); err != nil {
				return err
			}
		case <-idle.C:
			if s.finished.IsZero() {
				return fmt.Errorf("nothing has happened for %v: %s", patience, s.missing())
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		idle.Reset(patience)
		if err := errors.Join(s.settle(ctx), s.broken); err != nil {
			return err
		}
	}
	return nil
}

// settle finds out whether everything is there, and says so once.
func (s *show) settle(ctx context.Context) error {
	if !s.played || !s.finished.IsZero() {
		return nil
	}
	if err := s.count(ctx); err != nil {
		return err
	}
	if s.missing() != "" {
		return nil
	}
	s.finished = time.Now()
	s.summarize()
	if s.demo.Keep {
		s.invite()
	}
	return nil
}

// say writes a line. Once one cannot be written, the show is over.
func (s *show) say(format string, args ...any) {
	if _, err := fmt.Fprintf(s.demo.Out, format+"\n", args...); err != nil && s.broken == nil {
		s.broken = fmt.Errorf("write to the output: %w", err)
	}
}

func tell(ctx context.Context, events chan<- event, happened event) error {
	select {
	case events <- happened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *show) publish(ctx context.Context, events chan<- event) error {
	stored := func(capture.Line) {
		_ = tell(ctx, events, func() error { s.published++; return nil }) // ends with ctx, which ends publishing too
	}
	rejected := func(line capture.Line) {
		_ = tell(ctx, events, func() error { return fmt.Errorf("line %d of the capture: %w", line.Number, line.Err) })
	}
	maxBytes := s.config.Streams.Updates.MaxUpdateBytes
	lines := capture.Follow(ctx, s.demo.Capture, maxBytes)
	if err := capture.NewPublisher(s.client, maxBytes, stored, rejected).Publish(ctx, lines); err != nil {
		return err
	}
	return tell(ctx, events, func() error { s.played = true; return nil })
}

func (s *show) followDeliveries(ctx context.Context, events chan<- event) error {
	for delivery, err := range s.client.Deliveries(ctx, client.All(), client.Position{}) {
		if err != nil {
			return err
		}
		if err := tell(ctx, events, func() error { return s.delivered(delivery) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *show) delivered(delivery client.Delivery) error {
	s.deliveries++
	s.states += len(delivery.States)
	s.recipients[delivery.Recipient] = true
	last := len(delivery.States) - 1
	if last < 0 {
		return errors.New("a delivery holds no states")
	}
	line := terminal.DeliveryLine(delivery.Stored, delivery.Recipient, delivery.States[last])
	if last > 0 {
		line += fmt.Sprintf("  (and %d before it)", last)
	}
	s.say("%s", line)
	return nil
}
