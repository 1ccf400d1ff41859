package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	errTimeout     = errors.New("the server has not answered in time")
	errWrongStream = errors.New("another stream than that of updates stored it")
)

// answers takes the server's answers to the attempts of a Publisher.
type answers struct {
	nc       *nats.Conn
	inbox    string // what the reply subject of an attempt is below
	messages chan *nats.Msg
	sub      *nats.Subscription
	broken   chan nats.Status // tells that the connection broke, which takes answers with it

	attempts uint64              // ever made
	waiting  map[uint64]*pending // by attempt
	order    []attempt           // those that wait, in order, and some that do not any more
}

// attempt is one try to store an update.
type attempt struct {
	number uint64
	due    time.Time // when it has failed without an answer
}

// newAnswers subscribes to the answers to at most most attempts at a time.
func newAnswers(nc *nats.Conn, most int) (*answers, error) {
	a := &answers{
		nc:       nc,
		inbox:    nc.NewInbox() + ".",
		messages: make(chan *nats.Msg, 2*most), // some may be late
		waiting:  make(map[uint64]*pending),
	}
	var err error
	if a.sub, err = nc.ChanSubscribe(a.inbox+"*", a.messages); err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	a.broken = nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	return a, nil
}

func (a *answers) close() {
	_ = a.sub.Unsubscribe() // It is gone with the connection.
	a.nc.RemoveStatusListener(a.broken)
}

// publish makes an attempt.
func (a *answers) publish(one *pending, timeout time.Duration) error {
	a.attempts++
	one.msg.Reply = a.inbox + strconv.FormatUint(a.attempts, 10)
	if err := a.nc.PublishMsg(one.msg); err != nil {
		return err
	}
	a.waiting[a.attempts] = one
	a.order = append(a.order, attempt{number: a.attempts, due: time.Now().Add(timeout)})
	return nil
}

// take returns the update that m is the answer to, nil for one that is not waited
// for any more.
func (a *answers) take(m *nats.Msg) *pending {
	number, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, a.inbox), 10, 64)
	if err != nil {
		return nil
	}
	one := a.waiting[number]
	delete(a.waiting, number)
	a.trim()
	return one
}

// trim takes those out of order that do not wait any more, as far as the first that
// does.
func (a *answers) trim() {
	for len(a.order) > 0 && a.waiting[a.order[0].number] == nil {
		a.order = a.order[1:]
	}
}

// overdue takes out the update of the oldest attempt that is due, nil for none.
func (a *answers) overdue(now time.Time) *pending {
	a.trim()
	if len(a.order) == 0 || now.Before(a.order[0].due) {
		return nil
	}
	return a.oldest()
}

// oldest takes out the update of the oldest attempt, nil for none.
func (a *answers) oldest() *pending {
	a.trim()
	if len(a.order) == 0 {
		return nil
	}
	number := a.order[0].number
	one := a.waiting[number]
	delete(a.waiting, number)
	a.order = a.order[1:]
	return one
}

// receiptOf returns what an answer of the server says.
func receiptOf(m *nats.Msg, stream string) (Receipt, error) {
	const noResponders = "503"
	if len(m.Data) == 0 && m.Header.Get("Status") == noResponders {
		return Receipt{}, jetstream.ErrNoStreamResponse
	}
	var ack struct {
		jetstream.PubAck

		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return Receipt{}, fmt.Errorf("decode acknowledgement: %w", err)
	}
	switch {
	case ack.Error != nil:
		return Receipt{}, ack.Error
	case ack.Stream != stream:
		return Receipt{}, fmt.Errorf("%w: %q, want %s", errWrongStream, ack.Stream, stream)
	default:
		return Receipt{Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
	}
}
