package capture

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The bounds of a Publisher. What is published again must arrive within the
// window in which the server knows the message IDs, 2 minutes.
const (
	maxPending   = 4000 // updates that are published and not acknowledged
	ackTimeout   = 10 * time.Second
	retryLimit   = 30 * time.Second
	firstPause   = 100 * time.Millisecond
	longestPause = 3 * time.Second
)

var errClosed = errors.New("the connection to NATS is closed")

// Dial connects to NATS. The connection must not reconnect by itself, so that
// updates keep their order: nats.NoReconnect. It is the Publisher's to close.
type Dial func(context.Context) (*nats.Conn, error)

// Publisher publishes updates and checks that each is stored, in order and once.
type Publisher struct {
	dial     Dial
	stream   string     // that is to store the updates
	stored   func(Line) // told of each update that is acknowledged
	rejected func(Line) // told of each line that holds no update
	run      string     // begins the message IDs

	conn   *nats.Conn
	js     jetstream.JetStream
	closed chan nats.Status
	sent   []pending // not acknowledged, in order
}

type pending struct {
	line Line
	msg  *nats.Msg
	ack  jetstream.PubAckFuture // nil where the message could not be sent
}

// NewPublisher returns a Publisher into the stream of that name, which tells stored
// of each update that is acknowledged and rejected of each line that holds none.
func NewPublisher(dial Dial, stream string, stored, rejected func(Line)) *Publisher {
	return &Publisher{dial: dial, stream: stream, stored: stored, rejected: rejected, run: rand.Text()}
}

// Publish publishes lines until the channel is closed and everything is
// acknowledged. The error is what kept it from publishing the rest, after retries;
// Unacknowledged says how many updates have an unknown fate then.
func (p *Publisher) Publish(ctx context.Context, lines <-chan Line) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	defer p.disconnect()
	for lines != nil || len(p.sent) > 0 {
		acked, failed := p.oldest()
		var err error
		select {
		case line, open := <-p.room(lines):
			switch {
			case !open:
				lines = nil
			case line.Err != nil:
				p.rejected(line)
			default:
				err = p.send(line)
			}
		case ack := <-acked:
			err = p.settle(ack)
		case err = <-failed:
		case <-p.closed:
			err = errClosed
		case <-ctx.Done():
			return fmt.Errorf("publish updates: %w", context.Cause(ctx))
		}
		if err := p.resume(ctx, err); err != nil {
			return err
		}
	}
	return nil
}

// Unacknowledged returns how many updates were published without an answer.
func (p *Publisher) Unacknowledged() int { return len(p.sent) }

// oldest returns what tells about the oldest update that is not acknowledged;
// channels that never tell where there is none.
func (p *Publisher) oldest() (<-chan *jetstream.PubAck, <-chan error) {
	if len(p.sent) == 0 || p.sent[0].ack == nil {
		return nil, nil
	}
	return p.sent[0].ack.Ok(), p.sent[0].ack.Err()
}

// room returns lines, or a channel that never tells while too much is pending.
func (p *Publisher) room(lines <-chan Line) <-chan Line {
	if len(p.sent) >= maxPending {
		return nil
	}
	return lines
}

func (p *Publisher) send(line Line) error {
	msg := &nats.Msg{
		Subject: line.Subject,
		Header:  nats.Header{jetstream.MsgIDHeader: {p.run + "-" + strconv.Itoa(line.Number)}},
		Data:    line.Data,
	}
	p.sent = append(p.sent, pending{line: line, msg: msg})
	return p.publish(&p.sent[len(p.sent)-1])
}

func (p *Publisher) publish(one *pending) (err error) {
	// The client's own retry would change the order.
	one.ack, err = p.js.PublishMsgAsync(one.msg, jetstream.WithRetryAttempts(0), jetstream.WithStallWait(ackTimeout))
	if err != nil {
		one.ack = nil
		return fmt.Errorf("publish to %s: %w", one.msg.Subject, err)
	}
	return nil
}

// settle takes the oldest update out that ack is for.
func (p *Publisher) settle(ack *jetstream.PubAck) error {
	if ack.Stream != p.stream {
		return &final{fmt.Errorf("stream %s stored the update of line %d: want stream %s", ack.Stream, p.sent[0].line.Number, p.stream)}
	}
	line := p.sent[0].line
	p.sent[0] = pending{} // the array behind the slice lives on
	p.sent = p.sent[1:]
	p.stored(line)
	return nil
}

// resume publishes again, in order, what is not acknowledged, for a bounded
// time. The message IDs keep the server from storing any of it twice.
func (p *Publisher) resume(ctx context.Context, cause error) error {
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause),
		backoff.WithMaxInterval(longestPause), backoff.WithMaxElapsedTime(retryLimit))
	for cause != nil {
		if errors.Is(cause, jetstream.ErrNoStreamResponse) {
			if err := p.missing(ctx); err != nil {
				return err
			}
		}
		pause := retry.NextBackOff()
		if isFinal(cause) || pause == backoff.Stop {
			return cause
		}
		if err := wait(ctx, pause); err != nil {
			return fmt.Errorf("publish updates: %w", errors.Join(err, cause))
		}
		cause = p.again(ctx)
	}
	return nil
}

// missing returns an error where it is certain that nothing will take the
// updates, rather than that a stream has no leader for a moment.
func (p *Publisher) missing(ctx context.Context) error {
	_, err := p.js.Stream(ctx, p.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("look up stream %s: %w", p.stream, err)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *Publisher) again(ctx context.Context) error {
	if p.conn.IsClosed() {
		p.disconnect()
		if err := p.connect(ctx); err != nil {
			return err
		}
	}
	for i := range p.sent {
		if err := p.publish(&p.sent[i]); err != nil {
			return err
		}
	}
	for len(p.sent) > 0 {
		if err := p.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *Publisher) await(ctx context.Context) error {
	acked, failed := p.oldest()
	select {
	case ack := <-acked:
		return p.settle(ack)
	case err := <-failed:
		return err
	case <-p.closed:
		return errClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *Publisher) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, retryLimit)
	defer cancel()
	conn, err := p.dial(ctx)
	if err != nil {
		return err
	}
	// More room than the window needs, so that publishing never waits for it.
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(2*maxPending), jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		conn.Close()
		return fmt.Errorf("use JetStream: %w", err)
	}
	p.conn, p.js, p.closed = conn, js, conn.StatusChanged(nats.CLOSED)
	return nil
}

func (p *Publisher) disconnect() { p.conn.Close() }

// final is an error that publishing again does not mend.
type final struct{ error }

func (f *final) Unwrap() error { return f.error }

// isFinal reports whether the server's answer stays the same however often an
// update is published.
func isFinal(err error) bool {
	var told *final
	if errors.As(err, &told) || errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	const clientErrors, tooMany = 4, 429
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code/100 == clientErrors && api.Code != tooMany
}
