package wait_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

var errNoResponders = errors.New("no responders")

// recorded is a stall of "reading updates" with the lines that it logs, also later.
type recorded struct {
	*wait.Stall

	log *buffer
}

func newRecorded() recorded {
	log := new(buffer)
	return recorded{Stall: wait.NewStall(slog.New(slog.NewTextHandler(log, nil)), "reading updates"), log: log}
}

type buffer struct {
	mu      sync.Mutex
	written bytes.Buffer
}

// Write keeps p.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.Write(p)
}

// String returns what was written.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.String()
}

func (r recorded) lines() []string {
	return strings.Split(strings.TrimSuffix(r.log.String(), "\n"), "\n")
}

// want checks how many lines there are, and that the newest holds every one of parts.
func (r recorded) want(t *testing.T, n int, parts ...string) {
	t.Helper()
	lines := r.lines()
	if len(lines) != n {
		t.Errorf("%d lines are logged, want %d:\n%s", len(lines), n, r.log)
	}
	for _, part := range parts {
		if newest := lines[len(lines)-1]; !strings.Contains(newest, part) {
			t.Errorf("the newest line is %q, want it with %q", newest, part)
		}
	}
}

const (
	stands = `"waiting, nothing is lost" what="reading updates"`
	goes   = `"going on" what="reading updates"`
)

// A stall is told once when it begins and once when it is over for all.
func TestStallOfSeveralParties(t *testing.T) {
	t.Parallel()
	s := newRecorded()
	s.Ended()
	if err := s.Waiting(); err != nil {
		t.Errorf("Waiting before anything failed = %v", err)
	}
	for range 3 {
		s.FailedFor(1, errNoResponders)
		s.FailedFor(2, errNoResponders)
	}
	s.EndedFor(1)
	if err := s.Waiting(); err == nil || err.Error() != "reading updates: no responders" {
		t.Errorf("Waiting while one party fails = %v", err)
	}
	s.want(t, 1, stands, "tries=1")
	s.EndedFor(2)
	s.EndedFor(2)
	if err := s.Waiting(); err != nil {
		t.Errorf("Waiting after the end = %v", err)
	}
	s.want(t, 2, goes, "tries=6")
}

// Each stall is told, however soon it follows another one.
func TestEveryStallIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newRecorded()
		for outage := range wait.MaxEnds {
			s.Failed(errNoResponders)
			s.want(t, 2*outage+1, stands, "error=\"no responders\"", "tries=1")
			wait.Pause(t.Context(), time.Second)
			s.Failed(errNoResponders)
			s.Ended()
			s.want(t, 2*outage+2, goes, "after=1s", "tries=2")
			wait.Pause(t.Context(), 2*time.Second)
		}
	})
}

func TestStallThatLastsIsToldAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newRecorded()
		for range 200 {
			s.Failed(errNoResponders)
			wait.Pause(t.Context(), time.Second)
		}
		s.want(t, 4, stands, "tries=181")
	})
}

// What comes and goes several times a second does not fill the log. The newest line
// never says that it goes on while it stands still, and says so soon once it does.
func TestStallThatComesAndGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newRecorded()
		const minutes, perMinute = 5, 240
		for range minutes * perMinute {
			s.Failed(errNoResponders)
			if newest := s.lines()[len(s.lines())-1]; !strings.Contains(newest, stands) {
				t.Fatalf("it stands still, and the newest line is %q", newest)
			}
			wait.Pause(t.Context(), time.Minute/perMinute/2)
			s.Ended()
			wait.Pause(t.Context(), time.Minute/perMinute/2)
		}
		if got, most := len(s.lines()), 2*wait.MaxEnds*(minutes+1); got > most {
			t.Errorf("%d lines are logged, want at most %d", got, most)
		}
		wait.Pause(t.Context(), time.Minute/wait.MaxEnds)
		synctest.Wait()
		s.want(t, len(s.lines()), goes, "times=")
		before := len(s.lines())
		s.Failed(errNoResponders)
		s.want(t, before+1, stands)
	})
}

// An end that waits for its turn is the end of the last stall, not of its turn.
func TestEndThatIsToldLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newRecorded()
		for range wait.MaxEnds {
			s.Failed(errNoResponders)
			s.Ended()
		}
		s.Failed(errNoResponders)
		wait.Pause(t.Context(), time.Second)
		s.Ended()
		s.want(t, 2*wait.MaxEnds+1, stands)
		wait.Pause(t.Context(), wait.Reminder/wait.MaxEnds)
		synctest.Wait()
		s.want(t, 2*wait.MaxEnds+2, goes, "after=1s")
	})
}

// What waits for its turn is told when nobody tries any more.
func TestStallIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newRecorded()
		for range wait.MaxEnds + 1 {
			s.Failed(errNoResponders)
			s.Ended()
		}
		s.want(t, 2*wait.MaxEnds+1, stands)
		s.Close()
		s.Close()
		s.want(t, 2*wait.MaxEnds+2, goes)
	})
}

// A party that does not try any more does not keep the stall going, and does not say
// that it goes on.
func TestStallIsForgotten(t *testing.T) {
	t.Parallel()
	s := newRecorded()
	for range 10 * wait.MaxEnds {
		s.Failed(errNoResponders)
		s.Forget(0)
		s.Ended()
	}
	if err := s.Waiting(); err != nil {
		t.Errorf("Waiting = %v", err)
	}
	s.want(t, wait.MaxEnds+1, stands)
}

func TestOutageHasWordsOfItsOwn(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := wait.NewOutage(slog.New(slog.NewTextHandler(&log, nil)), "disconnected", "reconnected")
	s.FailedFor("a", errNoResponders)
	s.EndedFor("a")
	for _, want := range []string{"msg=disconnected error=", "msg=reconnected after="} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log is\n%swant it with %q", log.String(), want)
		}
	}
}

// An end that was told late is told once, and counts: the next one has to wait as well.
func TestLateEndIsToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newRecorded()
		for range wait.MaxEnds + 1 {
			s.Failed(errNoResponders)
			s.Ended()
		}
		wait.Pause(t.Context(), wait.Reminder/wait.MaxEnds)
		synctest.Wait()
		s.want(t, 2*wait.MaxEnds+2, goes)
		s.Close()
		s.want(t, 2*wait.MaxEnds+2, goes)
		s.Failed(errNoResponders)
		s.Ended()
		s.want(t, 2*wait.MaxEnds+3, stands)
		wait.Pause(t.Context(), wait.Reminder/wait.MaxEnds)
		synctest.Wait()
		s.want(t, 2*wait.MaxEnds+4, goes)
	})
}

// One stall is not counted, and a full buffer of a connection that is gone is told as
// what it is.
func TestStallSaysWhatItIs(t *testing.T) {
	t.Parallel()
	s := newRecorded()
	s.Failed(nats.ErrReconnectBufExceeded)
	s.want(t, 1, stands, `error="not connected to NATS"`)
	s.Ended()
	if line := s.lines()[1]; strings.Contains(line, "times=") {
		t.Errorf("the line is %q, want no count of one", line)
	}
}

func TestStallBeginsWithWordsOfItsOwn(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := wait.NewStallThat(slog.New(slog.NewTextHandler(&log, nil)), "reading", "hurry")
	s.Failed(errNoResponders)
	if want := "msg=hurry what=reading error="; !strings.Contains(log.String(), want) {
		t.Errorf("log is\n%s\nwant it with %q", log.String(), want)
	}
	if err := s.Waiting(); err == nil || err.Error() != "reading: no responders" {
		t.Errorf("Waiting() = %v, want what is not going on", err)
	}
}
