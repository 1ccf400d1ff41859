package sender_test

import (
	"bytes"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
)

// Two acknowledgements: the first is lost with the connection, the second is confirmed
// on the next one. That says nothing about the first.
func TestAcknowledgementLostWithTheConnection(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	release := far.holdsUp()
	c := config()
	c.AckWait = time.Hour // What is not acknowledged stays so.
	var cut acknowledgementCut
	proxy := natstest.Proxy{FromClient: cut.look}
	made := runAt(t, proxy.Start(t, s.server.URL()), c, far.send, time.Now)
	s.commit(t, eva, says(1, "first"))
	await(t, far.tried, "try")
	s.commit(t, "@joe:somewhere.org", says(1, "first")) // The batch under way stands for it as well.
	s.awaitUnacknowledged(t, 2)
	made.awaitHeld(t, 2)
	release()
	wantBatch(t, far.next(t), entry("first"))
	s.awaitDone(t)
	if !cut.confirmed.Load() {
		t.Error("no acknowledgement was confirmed on the second connection")
	}
}

// acknowledgementCut loses the first acknowledgement, and has the one after it, which
// asks for a confirmation, arrive on the next connection.
type acknowledgementCut struct {
	lost      bool
	late      []byte
	inbox     []byte // that the confirmation comes to, "*" in place of its last token
	confirmed atomic.Bool
}

func (c *acknowledgementCut) look(frame []byte) ([]byte, natstest.Verdict) {
	fields := bytes.Fields(frame)
	isDone := bytes.HasPrefix(frame, []byte("PUB $JS.ACK.")) && bytes.HasSuffix(frame, []byte("\r\n+ACK\r\n"))
	switch {
	case isDone && !c.lost:
		c.lost = true
		return frame, natstest.Swallow
	case isDone && c.late == nil:
		c.late = slices.Clone(frame)
		reply := fields[2]
		c.inbox = append(slices.Clone(reply[:bytes.LastIndexByte(reply, '.')+1]), '*')
		return frame, natstest.Sever
	case c.late != nil && !c.confirmed.Load() && len(fields) > 1 && string(fields[0]) == "SUB" && bytes.Equal(fields[1], c.inbox):
		c.confirmed.Store(true)
		return slices.Concat(frame, c.late), natstest.Pass
	}
	return frame, natstest.Pass
}
