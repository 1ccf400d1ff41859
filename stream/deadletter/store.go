package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/wire"
)

// ErrNotFound is wrapped by the error about an ID that no dead letter has.
var ErrNotFound = errors.New("no such dead letter")

// ErrTruncated is wrapped by the error about a dead letter that does not hold the
// whole update.
var ErrTruncated = errors.New("dead letter is truncated")

// ErrForeign is wrapped by the error about messages among the dead letters that
// are none, such as an acknowledgement that somebody had the server store there.
var ErrForeign = errors.New("no dead letters")

// Store gives access to the dead letters that are kept.
type Store struct {
	js       jetstream.JetStream
	subjects wire.Subjects
}

// Kept is a dead letter as it is kept.
type Kept struct {
	ID     uint64          `json:"id"`   // sequence in the stream of dead letters
	Kept   time.Time       `json:"kept"` // when it was stored there
	Letter wire.DeadLetter `json:"letter"`
}

// NewStore returns access to the dead letters of the deployment with the
// subject prefix.
func NewStore(js jetstream.JetStream, prefix string) (*Store, error) {
	subjects, err := wire.NewSubjects(prefix)
	if err != nil {
		return nil, err
	}
	return &Store{js: js, subjects: subjects}, nil
}

// All yields the dead letters with reason, of every reason where it is empty,
// oldest first, that are kept when it is called. An error ends it. Messages that are no
// dead letters are passed over; if there were some, the last error wraps
// ErrForeignLetters.
func (d *Store) All(ctx context.Context, reason wire.Reason) iter.Seq2[Kept, error] {
	return func(yield func(Kept, error) bool) {
		if err := d.each(ctx, reason, func(k Kept) bool { return yield(k, nil) }); err != nil {
			yield(Kept{}, err)
		}
	}
}

func (d *Store) each(ctx context.Context, reason wire.Reason, yield func(Kept) bool) error {
	consumer, err := d.js.OrderedConsumer(ctx, d.subjects.DeadStream(), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{d.filter(reason)},
	})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", d.subjects.DeadStream(), err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", d.subjects.DeadStream(), err)
	}
	if info.NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read stream %s: %w", d.subjects.DeadStream(), err)
	}
	defer messages.Stop()
	var foreign foreignLetters
	for range info.NumPending {
		m, err := messages.Next(jetstream.NextMaxWait(jsapi.Timeout))
		if err = errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("read stream %s: %w", d.subjects.DeadStream(), err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read dead letter: %w", err)
		}
		kept, err := decodeKept(meta.Sequence.Stream, meta.Timestamp, m.Data())
		if err != nil {
			foreign.add(err)
		} else if !yield(kept) {
			return nil
		}
		if meta.NumPending == 0 {
			break
		}
	}
	return foreign.err()
}

// foreignLetters counts messages that are no dead letters.
type foreignLetters struct {
	count int
	first error
}

func (f *foreignLetters) add(err error) {
	f.count++
	if f.first == nil {
		f.first = err
	}
}

func (f *foreignLetters) err() error {
	if f.count == 0 {
		return nil
	}
	return fmt.Errorf("messages passed over that are %w: %d; the first: %w", ErrForeign, f.count, f.first)
}

// Get returns one dead letter, or an error wrapping ErrNoDeadLetter.
func (d *Store) Get(ctx context.Context, id uint64) (Kept, error) {
	dead, err := d.stream(ctx)
	if err != nil {
		return Kept{}, err
	}
	m, err := dead.GetMsg(ctx, id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Kept{}, fmt.Errorf("%w: %d", ErrNotFound, id)
	}
	if err != nil {
		return Kept{}, fmt.Errorf("read dead letter %d: %w", id, err)
	}
	return decodeKept(id, m.Time, m.Data)
}

// Requeue publishes the update of a dead letter again, the way its homeserver
// did, and deletes the letter. Requeueing twice within the updates stream's
// duplicate window publishes once. It returns the update's new sequence.
func (d *Store) Requeue(ctx context.Context, id uint64) (uint64, error) {
	kept, err := d.Get(ctx, id)
	if err != nil {
		return 0, err
	}
	if kept.Letter.Truncated {
		return 0, fmt.Errorf("requeue dead letter %d: %w", id, ErrTruncated)
	}
	if !d.isUpdate(kept.Letter.Subject) {
		return 0, fmt.Errorf("requeue dead letter %d: its subject is %q, want that of an update, %s", id, kept.Letter.Subject, d.subjects.Updates())
	}
	header := nats.Header{jetstream.MsgIDHeader: {fmt.Sprintf("requeue-%d-%d", id, kept.Kept.UnixNano())}}
	for key, values := range kept.Letter.Headers {
		// What the server was to check or do at the first publish does not hold for this one.
		if !strings.HasPrefix(key, "Nats-") {
			header[key] = values
		}
	}
	ack, err := d.js.PublishMsg(ctx,
		&nats.Msg{Subject: kept.Letter.Subject, Header: header, Data: kept.Letter.Payload},
		jetstream.WithExpectStream(d.subjects.UpdatesStream()))
	if err != nil {
		return 0, fmt.Errorf("requeue dead letter %d: publish to %s: %w", id, kept.Letter.Subject, err)
	}
	if ack.Duplicate {
		if err := d.sameUpdate(ctx, kept, ack.Sequence); err != nil {
			return 0, err
		}
	}
	if err := d.delete(ctx, id); err != nil {
		return ack.Sequence, err
	}
	return ack.Sequence, nil
}

// isUpdate reports whether updates are published to subject. Whoever made a letter up
// chose its subject.
func (d *Store) isUpdate(subject string) bool {
	user, found := strings.CutPrefix(subject, strings.TrimSuffix(d.subjects.Updates(), "*.*"))
	tokens := strings.Split(user, ".")
	isNone := func(token string) bool { return token == "" || token == "*" || token == ">" }
	return found && len(tokens) == 2 && !slices.ContainsFunc(tokens, isNone)
}

// sameUpdate returns an error if the update with the sequence is not that of the
// letter: somebody else published it with the ID of this one, which is then not stored.
func (d *Store) sameUpdate(ctx context.Context, kept Kept, sequence uint64) error {
	updates, err := d.js.Stream(ctx, d.subjects.UpdatesStream())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", d.subjects.UpdatesStream(), err)
	}
	m, err := updates.GetMsg(ctx, sequence)
	if err != nil {
		return fmt.Errorf("read update %d: %w", sequence, err)
	}
	if published, _ := d.subjects.FrontDoor(m.Subject); published != kept.Letter.Subject || !bytes.Equal(m.Data, kept.Letter.Payload) {
		return fmt.Errorf("requeue dead letter %d: update %d was published with its message ID and is another one: try again in 2 minutes", kept.ID, sequence)
	}
	return nil
}

func (d *Store) delete(ctx context.Context, id uint64) error {
	dead, err := d.stream(ctx)
	if err != nil {
		return err
	}
	if err := dead.DeleteMsg(ctx, id); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("delete dead letter %d: %w", id, err)
	}
	return nil
}

// Purge deletes the dead letters with reason, of every reason where it is empty,
// and returns how many there were.
func (d *Store) Purge(ctx context.Context, reason wire.Reason) (uint64, error) {
	dead, err := d.stream(ctx)
	if err != nil {
		return 0, err
	}
	before := dead.CachedInfo().State.Msgs
	if err := dead.Purge(ctx, jetstream.WithPurgeSubject(d.filter(reason))); err != nil {
		return 0, fmt.Errorf("purge stream %s: %w", d.subjects.DeadStream(), err)
	}
	info, err := dead.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", d.subjects.DeadStream(), err)
	}
	return before - min(before, info.State.Msgs), nil
}

func (d *Store) stream(ctx context.Context) (jetstream.Stream, error) {
	dead, err := d.js.Stream(ctx, d.subjects.DeadStream())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", d.subjects.DeadStream(), err)
	}
	return dead, nil
}

func (d *Store) filter(reason wire.Reason) string {
	if reason == "" {
		return d.subjects.DeadAll()
	}
	return d.subjects.Dead(reason)
}

func decodeKept(id uint64, stored time.Time, data []byte) (Kept, error) {
	letter, err := wire.DecodeDeadLetter(data)
	if err != nil {
		return Kept{}, fmt.Errorf("decode dead letter %d: %w", id, err)
	}
	return Kept{ID: id, Kept: stored, Letter: letter}, nil
}
