package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// failure keeps the first error of several goroutines.
type failure struct {
	mu    sync.Mutex
	first error
}

func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == nil {
		f.first = err
	}
}

func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first
}

// publishing publishes without waiting for each acknowledgement.
type publishing struct {
	js     jetstream.JetStream
	failed failure
}

func (g *ground) publishing() (*publishing, error) {
	p := &publishing{}
	js, err := g.publisher(p.failed.set)
	p.js = js
	return p, err
}

// maxStalls bounds how often a message is tried that finds no room among the
// unacknowledged; the client waits 200 ms each time.
const maxStalls = 300

func (p *publishing) publish(subject string, data []byte) error {
	for stalls := 0; ; stalls++ {
		_, err := p.js.PublishAsync(subject, data)
		if err == nil {
			return p.failed.get()
		}
		if stalls == maxStalls || !errors.Is(err, jetstream.ErrTooManyStalledMsgs) {
			return fmt.Errorf("publish to %s: %w", subject, err)
		}
	}
}

// done waits until everything is acknowledged.
func (p *publishing) done(ctx context.Context) error {
	select {
	case <-p.js.PublishAsyncComplete():
	case <-ctx.Done():
		return fmt.Errorf("wait for acknowledgements: %w", context.Cause(ctx))
	}
	if err := p.failed.get(); err != nil {
		return errors.Join(errors.New("publish without waiting"), err)
	}
	return nil
}
