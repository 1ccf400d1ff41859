package dendrite

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

// handle does one message. The error says that it is not done: it comes again, to the
// process that is active then. After until that may be another one, so that this one
// publishes nothing of it any more.
func (s *Source) handle(ctx context.Context, m jetstream.Msg, until time.Time) error {
	meta, err := m.Metadata()
	if err != nil {
		return nil // Somebody else published it to the inbox.
	}
	at := placeOf(meta.Sequence.Stream, meta.Timestamp)
	s.compare(ctx, meta)
	if at != s.last {
		work, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
		defer cancel()
		defer context.AfterFunc(ctx, func() { time.AfterFunc(lastTimeout, cancel) })()
		became, err := s.take(work, m, meta)
		if err != nil {
			s.log.Debug("a message is not done", "sequence", at.sequence, "error", err)
			return err
		}
		s.to.stall.Ended()
		if ctx.Err() != nil {
			s.awaitCopied(work)
		}
		s.meters.count(ctx, became, 1)
		s.meters.delayed(ctx, meta.Timestamp)
		s.last = at
	}
	s.handled = at.sequence
	s.meters.isBehind(ctx, meta.NumPending)
	_ = m.Ack() // Where that is lost, it comes again and is acknowledged then.
	return nil
}

// compare notes what lies between a message and the one before it. What another process
// may have done there, this one does not know.
func (s *Source) compare(ctx context.Context, meta *jetstream.MsgMetadata) {
	if meta.Sequence.Consumer != s.next {
		s.known.forget()
		s.handled = 0
	}
	s.next = meta.Sequence.Consumer + 1
	if lost := meta.Sequence.Stream - s.handled - 1; s.handled > 0 && meta.Sequence.Stream > s.handled+1 {
		s.meters.lose(ctx, lost)
		s.log.Warn("messages are lost, Dendrite's stream dropped them before they were read", "messages", lost)
		s.handled = meta.Sequence.Stream - 1
	}
}

// take publishes the update that a message is.
func (s *Source) take(ctx context.Context, m jetstream.Msg, meta *jetstream.MsgMetadata) (outcome, error) {
	e, err := parseEvent(m.Headers(), meta.Timestamp)
	if err != nil {
		s.warn(malformed, err)
		return malformed, nil
	}
	if !s.isLocal[e.state.UserID.Server()] {
		return foreign, nil
	}
	id := s.key.messageID(placeOf(meta.Sequence.Stream, meta.Timestamp))
	if meta.NumDelivered > 1 {
		n, err := s.to.newestOf(ctx, e.state.UserID)
		if err != nil {
			return "", err
		}
		if n.id == id { // The server may have forgotten the message ID.
			return duplicate, nil
		}
	}
	if e, err = s.completed(ctx, e); err != nil {
		return "", err
	}
	return s.publish(ctx, e, id)
}

// completed returns e with the status that its user has, if e leaves that open.
func (s *Source) completed(ctx context.Context, e event) (event, error) {
	if e.hasStatus {
		return e, nil
	}
	status, isKnown := s.known.of(e.state.UserID)
	if !isKnown {
		n, err := s.to.newestOf(ctx, e.state.UserID)
		if err != nil {
			return e, err
		}
		status = n.status
	}
	e.state.StatusMsg = status
	return e, nil
}

func (s *Source) publish(ctx context.Context, e event, id string) (outcome, error) {
	update, isValid := e.update()
	isDuplicate, err := s.to.publish(ctx, e.state.UserID, update, id)
	switch {
	case errors.Is(err, errRefused):
		s.warn(refused, err)
		return refused, nil
	case err != nil:
		return "", err
	}
	s.known.put(e.state.UserID, e.state.StatusMsg)
	s.latest = latest{e.state.UserID, id}
	switch {
	case isDuplicate:
		return duplicate, nil
	case !isValid:
		return invalid, nil
	default:
		return published, nil
	}
}

// warn logs the first message of which something became, and again if there are more
// after a while.
func (s *Source) warn(became outcome, err error) {
	if time.Since(s.warned[became]) < wait.Reminder {
		return
	}
	s.warned[became] = time.Now()
	switch became {
	case refused:
		s.log.Warn("passing over updates that the router's NATS refuses", "error", err)
	default:
		s.log.Warn("passing over messages that name no user", "error", err)
	}
}
