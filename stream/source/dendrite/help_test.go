package dendrite_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func errorAs[E error](err error) (E, bool) { return errors.AsType[E](err) }

// setDuplicateWindow has the router's server know message IDs for that long.
func (s *site) setDuplicateWindow(t *testing.T, window time.Duration) {
	t.Helper()
	found, err := s.js.Stream(t.Context(), s.subjects.UpdatesStream())
	if err != nil {
		t.Fatal(err)
	}
	c := found.CachedInfo().Config
	c.Duplicates = window
	if _, err := s.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// forgets reports whether the newest update, which has a message ID, is older than the
// server knows those by far.
func (s *site) forgets(t *testing.T) bool {
	t.Helper()
	found, err := s.js.Stream(t.Context(), s.subjects.UpdatesStream())
	if err != nil {
		t.Fatal(err)
	}
	last, err := found.GetMsg(t.Context(), found.CachedInfo().State.LastSeq)
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(last.Time) > 10*found.CachedInfo().Config.Duplicates && last.Header.Get(jetstream.MsgIDHeader) != ""
}

// pinned returns the ID of the pin, "" if no process has it.
func (s *site) pinned(t *testing.T) string {
	t.Helper()
	consumer, err := s.dendrite.Consumer(t.Context(), topic, "presence-router")
	if err != nil {
		t.Fatal(err)
	}
	if groups := consumer.CachedInfo().PriorityGroups; len(groups) > 0 {
		return groups[0].PinnedClientID
	}
	return ""
}
