package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
)

const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
	apiTimeout   = 5 * time.Second
)

var (
	errAway = errors.New("the connection to NATS is away")
	errLate = errors.New("the updates of this user before it took too long")
)

// pending is an update without an outcome.
type pending struct {
	user     presence.UserID
	id       string
	msg      *nats.Msg
	promise  Promise
	deadline time.Time // for another attempt
	unknown  bool      // an attempt had no answer
}

// flushing waits for the outcome of the updates that were there when it was asked for.
type flushing struct {
	waits map[*pending]struct{}
	over  chan struct{} // closed then
}

// publishing is what a Publisher has under way. It is of the goroutine in run.
type publishing struct {
	*Publisher

	answers *answers
	queues  map[presence.UserID][]*pending // by user, in order; only the first is sent
	ready   []*pending                     // to be sent now
	again   []*pending                     // wait for the timer, to be sent again
	flushed []*flushing
	retry   *backoff.ExponentialBackOff
	timer   *time.Timer
	waiting bool // the timer runs
	refused bool // no stream has answered since the timer last fired
}

func newPublishing(p *Publisher, a *answers) *publishing {
	timer := time.NewTimer(0)
	timer.Stop()
	return &publishing{
		Publisher: p,
		answers:   a,
		queues:    make(map[presence.UserID][]*pending),
		retry: backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause),
			backoff.WithMaxInterval(longestPause), backoff.WithMaxElapsedTime(0)),
		timer: timer,
	}
}

// run publishes until ctx ends, and gives every update an outcome.
func (p *publishing) run(ctx context.Context) {
	defer p.timer.Stop()
	overdue := time.NewTicker(max(p.config.AckTimeout/4, time.Millisecond))
	defer overdue.Stop()
	for ctx.Err() == nil {
		p.send()
		select {
		case one := <-p.arrivals:
			p.accept(one)
		case m := <-p.answers.messages:
			p.answered(m)
		case <-p.answers.broken:
			p.disconnected()
		case now := <-overdue.C:
			for one := p.answers.overdue(now); one != nil; one = p.answers.overdue(now) {
				p.fail(one, errTimeout)
			}
		case <-p.timer.C:
			p.resume(ctx)
		case flush := <-p.flushes:
			p.flush(flush)
		case <-ctx.Done():
		}
	}
	p.abandon(context.Cause(ctx))
}

func (p *publishing) accept(one *pending) {
	p.queues[one.user] = append(p.queues[one.user], one)
	if len(p.queues[one.user]) == 1 {
		p.ready = append(p.ready, one)
	}
}

// send sends what is ready. What cannot be sent makes others ready.
func (p *publishing) send() {
	for len(p.ready) > 0 {
		one := p.ready[0]
		p.ready[0] = nil
		p.ready = p.ready[1:]
		if err := p.attempt(one); err != nil {
			p.fail(one, err)
		}
	}
}

func (p *publishing) attempt(one *pending) error {
	if time.Now().After(one.deadline.Add(p.config.AckTimeout)) {
		return errLate
	}
	if !p.client.nc.IsConnected() && !p.client.nc.IsClosed() {
		return errAway // rather than pile attempts up in the buffer of the connection
	}
	return p.answers.publish(one, p.config.AckTimeout)
}

// answered gives the update its outcome that m is the answer to.
func (p *publishing) answered(m *nats.Msg) {
	one := p.answers.take(m)
	if one == nil {
		return
	}
	receipt, err := receiptOf(m, p.client.subjects.UpdatesStream())
	if err != nil {
		p.fail(one, err)
		return
	}
	p.retry.Reset()
	p.resolve(one, receipt, nil)
}

// disconnected fails what has no answer now that the connection broke.
func (p *publishing) disconnected() {
	for len(p.answers.messages) > 0 {
		p.answered(<-p.answers.messages)
	}
	for one := p.answers.oldest(); one != nil; one = p.answers.oldest() {
		p.fail(one, nats.ErrDisconnected)
	}
}

// fail has the update sent again later, or gives it up.
func (p *publishing) fail(one *pending, err error) {
	p.refused = p.refused || errors.Is(err, jetstream.ErrNoStreamResponse)
	said := judge(err)
	one.unknown = one.unknown || said == unknown
	mayRepeat := said == notNow || said == unknown && one.id != ""
	if !mayRepeat || time.Now().After(one.deadline) {
		p.giveUp(one, err)
		return
	}
	p.again = append(p.again, one)
	if !p.waiting {
		p.waiting = true
		p.timer.Reset(p.retry.NextBackOff())
	}
}

func (p *publishing) giveUp(one *pending, err error) {
	if one.unknown {
		err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	failed := &PublishError{User: one.user, ID: one.id, Err: err}
	p.failed.add(failed)
	p.resolve(one, Receipt{}, failed)
}

// resume makes ready what waits for the timer, unless it is certain that no stream
// will take it.
func (p *publishing) resume(ctx context.Context) {
	p.waiting = false
	waiting := p.again
	p.again = nil
	if err := p.missing(ctx); err != nil {
		for _, one := range waiting {
			p.giveUp(one, err)
		}
		return
	}
	p.ready = append(p.ready, waiting...)
}

// missing returns an error where the stream does not exist, which another attempt
// does not mend. A stream that only has no leader for a moment is not missing.
func (p *publishing) missing(ctx context.Context) error {
	if !p.refused {
		return nil
	}
	p.refused = false
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	name := p.client.subjects.UpdatesStream()
	_, err := p.client.js.Stream(ctx, name)
	if isFinal(err) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	return nil
}

// resolve gives the update its outcome and makes the next one of its user ready.
func (p *publishing) resolve(one *pending, receipt Receipt, err error) {
	queue := p.queues[one.user]
	queue[0] = nil
	if queue = queue[1:]; len(queue) > 0 {
		p.queues[one.user] = queue
		p.ready = append(p.ready, queue[0])
	} else {
		delete(p.queues, one.user)
	}
	if one.promise != nil {
		one.promise(receipt, err)
	}
	<-p.room
	for _, flush := range p.flushed {
		delete(flush.waits, one)
	}
	p.tellFlushes()
}

// flush notes what a Flush waits for.
func (p *publishing) flush(flush *flushing) {
	for len(p.arrivals) > 0 {
		p.accept(<-p.arrivals)
	}
	flush.waits = make(map[*pending]struct{})
	for _, queue := range p.queues {
		for _, one := range queue {
			flush.waits[one] = struct{}{}
		}
	}
	p.flushed = append(p.flushed, flush)
	p.tellFlushes()
}

func (p *publishing) tellFlushes() {
	waiting := p.flushed[:0]
	for _, flush := range p.flushed {
		if len(flush.waits) > 0 {
			waiting = append(waiting, flush)
			continue
		}
		close(flush.over)
	}
	clear(p.flushed[len(waiting):])
	p.flushed = waiting
}

// abandon gives everything that has no outcome the error that the Publisher ended
// with.
func (p *publishing) abandon(cause error) {
	if !errors.Is(cause, ErrClosed) {
		cause = fmt.Errorf("%w: %w", ErrClosed, cause)
	}
	p.refuse() // nothing arrives any more
	for len(p.arrivals) > 0 {
		p.accept(<-p.arrivals)
	}
	for _, one := range p.answers.waiting {
		one.unknown = true
	}
	for _, queue := range p.queues {
		for _, one := range queue {
			p.giveUp(one, cause)
		}
	}
}
