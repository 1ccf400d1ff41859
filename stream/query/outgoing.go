package query

import (
	"log/slog"
	"runtime"
	"sync"

	"github.com/nats-io/nats.go"
)

// keptBuffer is the largest buffer that is kept for another answer.
const keptBuffer = 64 << 10

// outgoing sends answers. Those that are ready at about the same time go to the
// server in one write, since a write for each would cost more than their making.
type outgoing struct {
	nc      *nats.Conn
	log     *slog.Logger
	buffers sync.Pool // of *[]byte, the data of answers that were sent

	mu    sync.Mutex
	ready []nats.Msg // at most one per goroutine that answers
}

// buffer returns an empty buffer for the data of an answer.
func (o *outgoing) buffer() []byte {
	if kept, ok := o.buffers.Get().(*[]byte); ok {
		return (*kept)[:0]
	}
	return nil
}

// send publishes an answer unless nobody waits for it, and with it what other
// goroutines send meanwhile; or one of them publishes it. data is not the caller's any
// more.
func (o *outgoing) send(to reply, header nats.Header, data []byte) {
	if to == "" {
		return
	}
	o.mu.Lock()
	o.ready = append(o.ready, nats.Msg{Subject: string(to), Header: header, Data: data})
	first := len(o.ready) == 1
	o.mu.Unlock()
	if !first {
		return
	}
	runtime.Gosched() // Those that are about to answer come first.
	o.mu.Lock()
	ready := o.ready
	o.ready = nil
	o.mu.Unlock()
	for i := range ready {
		o.publish(&ready[i])
	}
}

func (o *outgoing) publish(m *nats.Msg) {
	if err := o.nc.PublishMsg(m); err != nil {
		o.log.Debug("answer is lost", "subject", m.Subject, "error", err)
	}
	if data := m.Data; 0 < cap(data) && cap(data) <= keptBuffer { // it is sent, or copied to be sent
		o.buffers.Put(&data)
	}
}
