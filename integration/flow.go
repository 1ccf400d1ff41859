package integration

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

const (
	flowChunk = 32 << 10 // bytes at most that are read at once
	flowQueue = 1024     // chunks of one connection that are kept; the sender waits then
)

// flow is one direction of a link: how the bytes of all its connections pass.
type flow struct {
	mu     sync.Mutex
	delay  time.Duration
	passes chan struct{} // closed while bytes pass
}

// chunk is some bytes and when they may arrive.
type chunk struct {
	data []byte
	due  time.Time
}

func newFlow() *flow {
	f := &flow{passes: make(chan struct{})}
	close(f.passes)
	return f
}

func (f *flow) hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.passes:
		f.passes = make(chan struct{})
	default:
	}
}

func (f *flow) pass() {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.passes:
	default:
		close(f.passes)
	}
}

func (f *flow) slow(delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = delay
}

func (f *flow) state() (delay time.Duration, passes <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.delay, f.passes
}

// carry copies from one connection to another. Where the sender is gone, the end
// follows what it sent; where the receiver is gone or ctx ends, the sender is cut.
func (f *flow) carry(ctx context.Context, to, from net.Conn) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(ctx, func() { _ = from.SetReadDeadline(time.Unix(1, 0)) })()
	queue := make(chan chunk, flowQueue)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(queue)
		f.read(ctx, from, queue)
	})
	if f.write(ctx, to, queue) == nil {
		closeWrite(to)
	}
	end()
	reading.Wait()
}

func (f *flow) read(ctx context.Context, from net.Conn, queue chan<- chunk) {
	for {
		buffer := make([]byte, flowChunk)
		n, err := from.Read(buffer)
		if n > 0 {
			delay, _ := f.state()
			select {
			case queue <- chunk{data: buffer[:n], due: time.Now().Add(delay)}:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (f *flow) write(ctx context.Context, to io.Writer, queue <-chan chunk) error {
	for c := range queue {
		if err := f.await(ctx, c.due); err != nil {
			return err
		}
		if _, err := to.Write(c.data); err != nil {
			return err
		}
	}
	return nil
}

// await returns when bytes that are due then may pass.
func (f *flow) await(ctx context.Context, due time.Time) error {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	_, passes := f.state()
	select {
	case <-passes:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func closeWrite(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}
