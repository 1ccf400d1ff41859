package integration_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// TestFaultBadInput publishes what is no update, each among good updates of the
// same user: every one becomes one dead letter with its reason, the good ones are
// delivered, and nothing is tried again.
func TestFaultBadInput(t *testing.T) {
	t.Parallel()
	bob := presence.MustUserID("@bob:example.com")
	tests := []struct {
		name string
		data string
		want wire.Reason
	}{
		{"empty", ``, wire.Malformed},
		{"not JSON", `hello`, wire.Malformed},
		{"cut off", `{"user_id":"@bob:example.com","state":"onl`, wire.Malformed},
		{"more behind it", `{"user_id":"@bob:example.com","state":"online"} {}`, wire.Malformed},
		{"an array", `[{"user_id":"@bob:example.com","state":"online"}]`, wire.Malformed},
		{"a string", `"online"`, wire.Malformed},
		{"null", `null`, wire.Malformed},
		{"no UTF-8", "{\"user_id\":\"@bob:example.com\",\"state\":\"online\",\"status_msg\":\"\xff\"}", wire.Malformed},
		{"nested too deep", `{"user_id":"@bob:example.com","state":"online","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, wire.Malformed},
		{"a key twice", `{"user_id":"@bob:example.com","state":"online","state":"offline"}`, wire.Malformed},
		{"user_id missing", `{"state":"online"}`, wire.InvalidUserID},
		{"user_id null", `{"user_id":null,"state":"online"}`, wire.InvalidUserID},
		{"user_id a number", `{"user_id":7,"state":"online"}`, wire.InvalidUserID},
		{"user_id without @", `{"user_id":"bob:example.com","state":"online"}`, wire.InvalidUserID},
		{"user_id without :", `{"user_id":"@bob","state":"online"}`, wire.InvalidUserID},
		{"user_id over 255 bytes", `{"user_id":"@` + strings.Repeat("b", 250) + `:example.com","state":"online"}`, wire.InvalidUserID},
		{"user_id with NUL", `{"user_id":"@b\u0000b:example.com","state":"online"}`, wire.InvalidUserID},
		{"bad server name", `{"user_id":"@bob:exa mple.com","state":"online"}`, wire.InvalidUserID},
		{"bad port", `{"user_id":"@bob:example.com:port","state":"online"}`, wire.InvalidUserID},
		{"state missing", `{"user_id":"@bob:example.com"}`, wire.InvalidState},
		{"state unknown", `{"user_id":"@bob:example.com","state":"asleep"}`, wire.InvalidState},
		{"state a boolean", `{"user_id":"@bob:example.com","state":true}`, wire.InvalidState},
		{"state null", `{"user_id":"@bob:example.com","state":null}`, wire.InvalidState},
		{"time negative", `{"user_id":"@bob:example.com","state":"online","last_active_ts":-1}`, wire.Malformed},
		{"time fractional", `{"user_id":"@bob:example.com","state":"online","last_active_ts":1.5}`, wire.Malformed},
		{"time a string", `{"user_id":"@bob:example.com","state":"online","last_user_sync_ts":"1"}`, wire.Malformed},
		{"time too large", `{"user_id":"@bob:example.com","state":"online","last_active_ts":9223372036854775808}`, wire.Malformed},
		{"currently_active a number", `{"user_id":"@bob:example.com","state":"online","currently_active":1}`, wire.Malformed},
		{"status_msg an object", `{"user_id":"@bob:example.com","state":"online","status_msg":{}}`, wire.Malformed},
		{"another user than the subject", `{"user_id":"@alice:example.com","state":"online"}`, wire.SubjectMismatch},
		{"another server than the subject", `{"user_id":"@bob:example.org","state":"online"}`, wire.SubjectMismatch},
		{"over the limit", `{"user_id":"@bob:example.com","state":"online","x":"` + strings.Repeat("x", 64<<10) + `"}`, wire.TooLarge},
	}
	l := newLoad(newEffort(t).numbers(t), 50, 2)
	l.add(bob, 2)
	d := deploy(t, l)
	d.startReady().terminate(syscall.SIGTERM) // makes the streams
	var published []integration.Update
	for _, tt := range tests {
		good := append(l.updates(3), l.update(bob))
		d.publish(good)
		bad := integration.Update{Number: -len(published) - 1, JSON: []byte(tt.data), Reason: tt.want}
		bad.Sequence = d.publishRaw(d.subjects.Update(bob), bad.JSON)
		published = append(append(published, good...), bad)
	}
	worker := d.startReady()
	d.awaitCommitted()
	worker.awaitQuiet(d)
	worker.terminate(syscall.SIGTERM)
	worker.wantAtMost(12)
	d.collect(0).verify(t, integration.Check, published)
	d.wantDead(len(tests))
}

// TestFaultManyMalformed publishes malformed updates in a row.
func TestFaultManyMalformed(t *testing.T) {
	t.Parallel()
	const malformed = 10_000
	l := newLoad(newEffort(t).numbers(t), 50, 2)
	d := deploy(t, l)
	worker := d.startReady()
	before := l.updates(100)
	d.publish(before)
	bad := make([]integration.Update, malformed)
	for n := range bad {
		bad[n] = integration.Update{Number: -n - 1, User: l.users[n%len(l.users)], JSON: fmt.Appendf(nil, `{"user_id": oh no, %d`, n), Reason: wire.Malformed}
	}
	d.publish(bad)
	after := l.updates(100)
	d.publish(after)
	d.awaitCommitted()
	worker.awaitQuiet(d)
	worker.terminate(syscall.SIGTERM)
	worker.wantAtMost(15)
	d.collect(0).verify(t, integration.Check, bySequence(before, bad, after))
	d.wantDead(malformed)
}

// TestFaultRequeue puts a dead letter back through the front door, once what kept
// it out is mended.
func TestFaultRequeue(t *testing.T) {
	t.Parallel()
	l := newLoad(newEffort(t).numbers(t), 50, 2)
	d := deploy(t, l)
	strict := d.startReady(settings{"STREAMS_UPDATES_MAX_UPDATE_BYTES": "512"})
	large := l.update(l.users[0])
	large.JSON = append([]byte(strings.Repeat(" ", 600)), large.JSON...)
	large.Sequence = d.publishRaw(d.subjects.Update(large.User), large.JSON)
	d.awaitCommitted()
	strict.terminate(syscall.SIGTERM)

	worker := d.startReady()
	later := l.update(l.users[0])
	later.Sequence = d.publishRaw(d.subjects.Update(later.User), later.JSON)
	d.wantDead(1)
	d.command("dead", "requeue", "--all", "--reason", string(wire.TooLarge)).awaitExit(0)
	large.Sequence = d.lastSequence(d.subjects.UpdatesStream())
	d.wantDead(0)
	d.awaitCommitted()
	worker.terminate(syscall.SIGTERM)
	c := d.collect(0)
	if len(c.DeadLetters) != 1 || c.DeadLetters[0].Reason != wire.TooLarge {
		t.Errorf("dead letters are %v, want one of %s", c.DeadLetters, wire.TooLarge)
	}
	c.DeadLetters = nil
	c.verify(t, integration.Check, bySequence([]integration.Update{large, later}))
}

// awaitQuiet wants no delivery and no dead letter more for longer than two intervals
// of checkpoints.
func (w *workerProcess) awaitQuiet(d *deployment) {
	w.t.Helper()
	before := d.written()
	<-time.After(500 * time.Millisecond)
	if after := d.written(); after != before {
		w.t.Errorf("deliveries and dead letters went on from %d to %d, with every update done", before, after)
	}
}

// written returns how many deliveries and dead letters are stored.
func (d *deployment) written() int {
	d.t.Helper()
	deliveries := d.subjects.DeliveriesStream()
	return natstest.Count(d.t, d.js, deliveries, d.subjects.Deliveries()) + natstest.Count(d.t, d.js, deliveries, d.subjects.DeadAll())
}
