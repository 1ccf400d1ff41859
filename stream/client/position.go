package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Position is a place between two messages of the deliveries stream, to go on
// from. It says which message is the last before it and of which stream, so that
// it is noticed when that stream was made again, restored or rolled back: reading
// then goes on with what was stored after that message. The zero Position is the
// beginning. It is stored as text.
type Position struct {
	Sequence uint64    // of the last message before it
	Time     time.Time // when that message was stored
	Created  time.Time // when the stream was created

	fresh bool // read from the stream just now
}

// IsZero reports whether p is the beginning of the stream.
func (p Position) IsZero() bool { return p.Sequence == 0 && p.Created.IsZero() }

// String returns p as <sequence>/<time>/<created>, times in RFC 3339; "" where it
// is the beginning.
func (p Position) String() string {
	if p.IsZero() {
		return ""
	}
	return fmt.Sprintf("%d/%s/%s", p.Sequence, p.Time.UTC().Format(time.RFC3339Nano), p.Created.UTC().Format(time.RFC3339Nano))
}

// ParsePosition returns the position that String wrote.
func ParsePosition(text string) (Position, error) {
	if text == "" {
		return Position{}, nil
	}
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return Position{}, fmt.Errorf("position is %.100q: want <sequence>/<time>/<created>", text)
	}
	sequence, sequenceErr := strconv.ParseUint(parts[0], 10, 64)
	stored, timeErr := time.Parse(time.RFC3339Nano, parts[1])
	created, createdErr := time.Parse(time.RFC3339Nano, parts[2])
	if err := errors.Join(sequenceErr, timeErr, createdErr); err != nil {
		return Position{}, fmt.Errorf("position is %.100q: want <sequence>/<time>/<created>: %w", text, err)
	}
	return Position{Sequence: sequence, Time: stored, Created: created}, nil
}

// MarshalText returns what String does.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText parses what MarshalText wrote.
func (p *Position) UnmarshalText(text []byte) error {
	parsed, err := ParsePosition(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// End returns the position behind what the deliveries stream holds now.
func (c *Client) End(ctx context.Context) (Position, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	name := c.subjects.DeliveriesStream()
	stream, err := c.js.Stream(ctx, name)
	if err != nil {
		return Position{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	end := endOf(stream.CachedInfo())
	end.fresh = true
	return end, nil
}

// endOf returns the position behind the last message, at the server's time where
// there is none.
func endOf(info *jetstream.StreamInfo) Position {
	end := Position{Sequence: info.State.LastSeq, Time: info.State.LastTime, Created: info.Created}
	if end.Time.IsZero() {
		end.Time = info.TimeStamp
	}
	return end
}
