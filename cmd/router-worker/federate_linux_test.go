package main_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/presence-router/presence-router/internal/matrixtest"
)

func TestFederateThatWasPausedSendsNothingOld(t *testing.T) {
	t.Parallel()
	a := withAbroad(t)
	oops := matrixtest.Status(http.StatusInternalServerError, "oops")
	a.Fail(oops, oops, oops)
	slow := []string{"ROUTER_WORKER_FEDERATE_FIRST_RETRY=500ms", "ROUTER_WORKER_FEDERATE_LONGEST_RETRY=500ms"} // due while it is paused
	paused := a.federate(t, slow...)
	a.says(t, "older", 0)
	wantBob(t, a.next(t), "older")
	paused.signal(syscall.SIGSTOP)
	a.federate(t)
	a.says(t, "newer", 0)
	sent := a.next(t)
	for !strings.Contains(sent.Body, "newer") {
		sent = a.next(t) // The other process may be given the older one first.
	}
	paused.signal(syscall.SIGCONT)
	paused.await(paused.stderr, "another sender may read")
	for len(a.Got()) > 0 {
		if body := a.next(t).Body; strings.Contains(body, "older") {
			t.Errorf("sent after the newer state is %s, want nothing old", body)
		}
	}
}
