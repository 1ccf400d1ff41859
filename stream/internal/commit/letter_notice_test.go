package commit_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/presence-router/presence-router/stream/internal/commit"
	"github.com/presence-router/presence-router/stream/wire"
)

// The first dead letter of each reason is logged by the commit that stores it; those of
// the next minute are told together.
func TestFirstDeadLetterIsLoggedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		note := commit.NoteLetters(slog.New(slog.NewTextHandler(&log, nil)))
		steps := []struct {
			reason  wire.Reason
			letters int64
			pause   time.Duration // before that
			want    []string      // in the newest line
			lines   int           // until then
		}{
			{wire.Malformed, 3, 0, []string{"level=WARN", "updates cannot be routed and are dead letters", "reason=malformed", "letters=3"}, 1},
			{wire.Malformed, 1, 0, nil, 1},
			{wire.RouterFailed, 2, 0, []string{"reason=router_failed", "letters=2"}, 2},
			{wire.Malformed, 4, 59 * time.Second, nil, 2},
			{wire.Malformed, 5, time.Second, []string{"reason=malformed", "letters=10"}, 3},
		}
		for _, step := range steps {
			<-time.After(step.pause)
			note(map[wire.Reason]int64{step.reason: step.letters})
			lines := strings.SplitAfter(strings.TrimSuffix(log.String(), "\n"), "\n")
			if len(lines) != step.lines {
				t.Errorf("%d lines are logged, want %d:\n%s", len(lines), step.lines, &log)
			}
			for _, part := range step.want {
				if newest := lines[len(lines)-1]; !strings.Contains(newest, part) {
					t.Errorf("the newest line is %s, want %q in it", newest, part)
				}
			}
		}
	})
}
