// Bare routes presence with a pull consumer and PublishAsync, and nothing that keeps
// order or duplicates out.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/integration/peers/job"
)

const (
	pending   = 4000 // acknowledgements outstanding while publishing
	ackEach   = 4000 // updates that are acknowledged together
	readAhead = 1024
	idle      = 100 * time.Millisecond // without updates, after which what is done is acknowledged
	stall     = time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	j, err := job.FromArgs()
	if err != nil {
		return err
	}
	nc, err := nats.Connect(j.URL)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(pending))
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, j.Subjects.UpdatesStream(), jetstream.ConsumerConfig{
		Durable: "bare", AckPolicy: jetstream.AckAllPolicy, MaxAckPending: -1,
	})
	if err != nil {
		return fmt.Errorf("make a consumer: %w", err)
	}
	updates, err := consumer.Messages(jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return fmt.Errorf("read updates: %w", err)
	}
	defer updates.Stop()
	l := loop{job: j, js: js}
	for {
		if err := l.step(ctx, updates); err != nil {
			return err
		}
	}
}

// loop is where the program stands.
type loop struct {
	job    *job.Job
	js     jetstream.JetStream
	last   jetstream.Msg // update that is routed but not acknowledged, nil for none
	routed int           // since the last acknowledgement
}

// step routes one update, or acknowledges what is routed where none comes.
func (l *loop) step(ctx context.Context, updates jetstream.MessagesContext) error {
	waiting, cancel := context.WithTimeout(ctx, idle)
	m, err := updates.Next(jetstream.NextContext(waiting))
	cancel()
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return l.acknowledge()
	}
	if err != nil {
		return fmt.Errorf("read updates: %w", err)
	}
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	if err := l.job.Deliver(m.Data(), meta.Sequence.Stream, l.publish); err != nil {
		return err
	}
	l.last = m
	if l.routed++; l.routed == ackEach {
		return l.acknowledge()
	}
	return nil
}

func (l *loop) publish(subject string, data []byte) error {
	_, err := l.js.PublishAsync(subject, data, jetstream.WithStallWait(stall))
	return err
}

// acknowledge waits until the deliveries are stored, then acknowledges the updates.
func (l *loop) acknowledge() error {
	if l.last == nil {
		return nil
	}
	select {
	case <-l.js.PublishAsyncComplete():
	case <-time.After(stall):
		return errors.New("deliveries are not acknowledged")
	}
	if err := l.last.Ack(); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	l.last, l.routed = nil, 0
	return nil
}
