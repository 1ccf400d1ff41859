package commit

import (
	"log/slog"
	"sync"
	"time"

	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// letterNotice logs dead letters: the first of a reason at once, and how many followed
// when a reminder is due. Its methods may be called by several goroutines at once.
type letterNotice struct {
	log *slog.Logger

	mu   sync.Mutex
	told map[wire.Reason]time.Time // when the newest line about a reason was logged
	more map[wire.Reason]int64     // letters since then
}

func newLetterNotice(log *slog.Logger) *letterNotice {
	return &letterNotice{log: log, told: make(map[wire.Reason]time.Time), more: make(map[wire.Reason]int64)}
}

// note counts the letters of a unit that is committed.
func (n *letterNotice) note(dead map[wire.Reason]int64) {
	if len(dead) == 0 {
		return
	}
	n.mu.Lock()
	for reason, letters := range dead {
		n.more[reason] += letters
	}
	n.mu.Unlock()
	n.tell()
}

// tell logs what is due. It is called now and then, so that the last letters are told,
// too.
func (n *letterNotice) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for reason := range n.more {
		if time.Since(n.told[reason]) >= wait.Reminder {
			n.say(reason)
		}
	}
}

// end logs what is left.
func (n *letterNotice) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for reason := range n.more {
		n.say(reason)
	}
}

func (n *letterNotice) say(reason wire.Reason) {
	n.log.Warn("updates cannot be routed and are dead letters, see router-worker dead list", "reason", string(reason), "letters", n.more[reason])
	n.told[reason] = time.Now()
	delete(n.more, reason)
}
