package integration_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/internal/matrixtest"
	"github.com/presence-router/presence-router/routing/presence"
)

// The network holds a transaction, and NATS is away until the sender forgets it. It arrives
// when newer ones were taken: the one that a judge excepts, and no other.
func TestTransactionThatTheNetworkHoldsArrivesLate(t *testing.T) {
	t.Parallel()
	a := settle(t, newEffort(t).numbers(t))
	far := a.servers[0]
	a.say(1)
	a.awaitNewest(map[string]int{lateUser: 1})
	far.link.Hold(integration.ToServers)
	a.say(2)
	// The first try goes over the connection that is there, so that it is on its way.
	a.sender.awaitLog(`msg="destination fails, trying again later" origin=example.com destination=` + far.name)
	a.outages = append(a.outages, time.Now())
	if err := a.server.Kill(); err != nil {
		t.Fatal(err)
	}
	a.sender.awaitLog("another sender may read, leaving to it what is not sent")
	far.link.Renew()
	if err := a.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.say(3)
	a.awaitNewest(map[string]int{lateUser: 3})
	far.link.Pass()
	err := retry(t.Context(), commitTimeout, func(context.Context) error {
		if got := far.all(); numbersOf(got[len(got)-1])[lateUser] != 2 {
			return errors.New("the transaction that was held has not arrived")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	far.verify(t, a.outages)
	got := far.all()
	j := newJudge(got, nil)
	for _, each := range got {
		j.hear(each)
	}
	if len(j.complaints) == 0 {
		t.Error("a judge who knows of no outage does not complain: nothing came late")
	}
	a.sender.terminateSender()
}

const lateUser = "@user0:example.com"

// say has lateUser say a number.
func (a *abroad) say(n int) {
	a.t.Helper()
	u := integration.Update{
		Number: n, User: presence.MustUserID(lateUser),
		JSON: fmt.Appendf(nil, `{"user_id":%q,"state":"online","status_msg":"%d"}`, lateUser, n),
	}
	if err := a.publishOne(&u); err != nil {
		a.t.Fatal(err)
	}
}

// all returns what came, in order.
func (r *recorder) all() []matrixtest.Transaction {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]matrixtest.Transaction(nil), r.got...)
}
