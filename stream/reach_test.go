package stream_test

import (
	"bytes"
	"testing"
)

func isPull(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("PUB $JS.API.CONSUMER.MSG.NEXT.PRESENCE_UPDATES."))
}

// Servers of a cluster may lose what comes for a consumer right after it was made,
// and say nothing.
func TestFirstPullsAreLost(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.url = startProxy(t, s.url, &proxy{fromClient: fromNth(1, 2, isPull, swallow)})
	recipients := readers(3)
	w := s.start(t, toEach(t, recipients...))
	last := s.publishMany(t, 0, 10)
	s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, recipients...)
	w.log.want(t, 0, "waiting, nothing is lost", "reading updates")
}
