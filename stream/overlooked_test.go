package stream_test

import (
	"bytes"
	"testing"
)

// An update gets lost on its way from a consumer that works otherwise, and no other
// follows that would show the gap.
func TestOverlookedUpdateIsReadAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	isUpdate := func(frame []byte) bool { return bytes.Contains(frame, []byte("$JS.ACK.PRESENCE_UPDATES.")) }
	s.url = startProxy(t, s.url, &proxy{fromServer: onNth(1, isUpdate, swallow)})
	w := s.start(t, toEach(t, alice))
	last := s.publish(t, bob, 1)
	s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
	w.log.want(t, 1, "reading updates", "updates are stored and do not arrive")
}
