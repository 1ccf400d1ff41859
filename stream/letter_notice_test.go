package stream_test

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
)

// Dead letters are logged: the first of a reason at once, the others later, all of them
// counted.
func TestDeadLettersAreLogged(t *testing.T) {
	t.Parallel()
	for _, fast := range []bool{true, false} {
		t.Run("fast ingest "+strconv.FormatBool(fast), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *stream.Config) { c.Streams.Deliveries.FastIngest = fast })
			w := s.start(t, toEach(t, alice))
			const n = 500
			var last uint64
			for range n {
				last = s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), "nonsense", nil)
			}
			w.log.await(t, "updates cannot be routed and are dead letters", "reason=malformed", "letters=")
			s.awaitPosition(t, last)
			w.stop(t)
			lines := w.log.with("updates cannot be routed and are dead letters", "reason=malformed")
			if len(lines) > 2 {
				t.Errorf("%d lines tell of dead letters within a minute and at the end, want at most 2:\n%s", len(lines), w.log)
			}
			total := 0
			for _, line := range lines {
				letters, err := strconv.Atoi(regexp.MustCompile(`letters=(\d+)`).FindStringSubmatch(line)[1])
				if err != nil {
					t.Fatal(err)
				}
				total += letters
			}
			if total != n {
				t.Errorf("the lines tell of %d dead letters, want %d:\n%s", total, n, w.log)
			}
		})
	}
}
