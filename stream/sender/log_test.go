package sender_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/sender"
)

// logged is what a sender logs, in JSON.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// logLine is a line of a log, with what tests look at.
type logLine struct {
	Level        string        `json:"level"`
	Message      string        `json:"msg"`
	Error        string        `json:"error"`
	Destination  string        `json:"destination"`
	Destinations int           `json:"destinations"`
	States       int           `json:"states"`
	Deliveries   int           `json:"deliveries"`
	GivenUp      int           `json:"given_up"`
	Pause        time.Duration `json:"pause"`
}

// lines returns the lines whose message begins with a text.
func (l *logged) lines(t *testing.T, begin string) []logLine {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []logLine
	for text := range strings.Lines(l.text.String()) {
		var line logLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("decode %s: %v", text, err)
		}
		if strings.HasPrefix(line.Message, begin) {
			found = append(found, line)
		}
	}
	return found
}

// awaitWarning waits for one warning whose message begins with a text.
func (l *logged) awaitWarning(t *testing.T, begin string) {
	t.Helper()
	eventually(t, begin, func() bool {
		lines := l.lines(t, begin)
		return len(lines) == 1 && lines[0].Level == "WARN"
	})
}

func TestPausesStayWithinTheLongest(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(refuse)
	c := config()
	c.FirstRetry, c.LongestRetry = 5*time.Millisecond, 5*time.Millisecond
	made := s.run(t, c, far.send)
	s.commit(t, eva, says(1, "first"))
	var pauses []logLine
	eventually(t, "50 pauses", func() bool {
		pauses = made.log.lines(t, "destination still fails")
		return len(pauses) >= 50
	})
	for _, p := range pauses {
		if p.Pause > c.LongestRetry || p.Pause < c.LongestRetry/2 {
			t.Errorf("a pause is %v, want %v at most, and half of that at least", p.Pause, c.LongestRetry)
		}
	}
}

func TestStatesThatAreGivenUpAreLogged(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(unreachable)
	now := &clock{ms: time.Now().UnixMilli()}
	c := config()
	c.AckWait = 2 * time.Second // which sweeps twice a second
	c.LongestRetry = time.Minute
	made := s.runWith(t, c, far.send, now.now)
	const servers, told = 13, 10
	for i := range servers {
		s.commit(t, fmt.Sprintf("@eva:server%d.org", i), of(0, `"state":"online"`), of(1, `"state":"online"`))
	}
	s.commit(t, eva, says(1, "first"))
	made.awaitHeld(t, servers+1)
	eventually(t, "failure of each destination", func() bool { return len(made.log.lines(t, "destination fails")) == servers+1 })
	now.set(time.Now().Add(c.TTL + time.Minute).UnixMilli())
	made.awaitHeld(t, 0)
	eventually(t, "line about the rest", func() bool { return len(made.log.lines(t, "giving up states that are too old, of more")) == 1 })
	if rest := made.log.lines(t, "giving up states that are too old, of more")[0]; rest.Destinations != servers+1-told {
		t.Errorf("logged is %+v, want %d more destinations", rest, servers+1-told)
	}
	states := 0
	for _, line := range made.log.lines(t, "giving up states") {
		states += line.States
	}
	if states != 2*servers+1 {
		t.Errorf("logged are %d states, want %d", states, 2*servers+1)
	}
	s.commit(t, eva, says(2, "second"))
	s.commit(t, "@zoe:elsewhere.net", says(2, "second"))
	var lines []logLine
	eventually(t, "line about another destination", func() bool {
		lines = made.log.lines(t, "giving up states")
		return slices.ContainsFunc(lines, func(l logLine) bool { return l.Destination == "elsewhere.net" })
	})
	if len(lines) != told+2 {
		t.Errorf("logged are %d lines, want %d: each destination once", len(lines), told+2)
	}
}

func TestStopTellsWhatIsLost(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(unreachable)
	made := s.run(t, config(), far.send)
	s.commit(t, eva, of(0, `"state":"offline"`))
	s.commit(t, eva, of(1, `"state":"offline"`))
	made.awaitHeld(t, 2)
	stream, err := s.js.Stream(t.Context(), s.subjects.DeliveriesStream())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil { // as the age limit would
		t.Fatal(err)
	}
	s.commit(t, eva, of(2, `"state":"offline"`))
	made.awaitHeld(t, 3)
	made.stop()
	if lines := made.log.lines(t, "deliveries that were not sent are lost"); len(lines) != 1 || lines[0].Deliveries != 2 || lines[0].Level != "WARN" {
		t.Errorf("logged is %+v, want a warning about 2 deliveries", lines)
	}
}

func TestStopTellsWhatComesAgain(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	release := far.holdsUp()
	made := s.run(t, config(), far.send)
	s.commit(t, eva, says(1, "first"))
	await(t, far.tried, "try")
	s.server.Shutdown()
	release()
	made.stop()
	if lines := made.log.lines(t, "deliveries that were sent are not acknowledged and come again"); len(lines) != 1 || lines[0].Deliveries != 1 || lines[0].Level != "WARN" {
		t.Errorf("logged is %+v, want a warning about 1 delivery", lines)
	}
}

func TestMissingStreamIsToldWithAdvice(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := config()
	c.Prefix = "other"
	made := s.run(t, c, newServers().send)
	const want = "stream OTHER_DELIVERIES is missing: make it with topology apply, or mend the prefix"
	eventually(t, "advice", func() bool { err := made.Ready(); return err != nil && strings.Contains(err.Error(), want) })
	made.stop()
}

func TestSenderSaysThatItIsNotConnected(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	nc := natstest.Connect(t, s.server.URL(), nats.ReconnectBufSize(-1))
	made, err := sender.New(nc, config(), far.send)
	if err != nil {
		t.Fatal(err)
	}
	stop := begin(t, made)
	s.commit(t, eva, says(1, "first"))
	far.next(t)
	s.awaitDone(t)
	s.server.Shutdown()
	eventually(t, "saying so", func() bool {
		err := made.Ready()
		return err != nil && strings.Contains(err.Error(), "not connected to NATS")
	})
	stop()
}

func TestDestinationThatWorksIsLoggedOnce(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	made := s.run(t, config(), far.send)
	for i := range uint64(3) {
		s.commit(t, eva, says(i+1, "line"))
	}
	eventually(t, "line about a destination", func() bool { return len(made.log.lines(t, "destination works")) >= 1 })
	s.commit(t, "@zoe:elsewhere.net", says(4, "line"))
	eventually(t, "line about each destination", func() bool { return len(made.log.lines(t, "destination works")) >= 2 })
	far.answers(unreachable)
	s.commit(t, eva, says(5, "line"))
	eventually(t, "failure", func() bool { return len(made.log.lines(t, "destination fails")) == 1 })
	far.takes()
	made.awaitHeld(t, 0)
	eventually(t, "end of the failure", func() bool { return len(made.log.lines(t, "destination works again")) == 1 })
	var got []string
	for _, line := range made.log.lines(t, "destination works") {
		got = append(got, fmt.Sprint(line.Level, " ", line.Message, ": ", line.Destination))
	}
	want := []string{"INFO destination works: somewhere.org", "INFO destination works: elsewhere.net", "INFO destination works again: somewhere.org"}
	if !slices.Equal(got, want) {
		t.Errorf("logged is %q, want %q", got, want)
	}
}
