package integration_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/internal/matrixtest"
	"github.com/presence-router/presence-router/routing/presence"
)

const abroadUsers = 30

// TestFaultFederate has a sender send to two homeservers while it is killed, the
// nats-server is killed, connections break and the homeservers fail: each gets the newest
// state of every user, and of each process what a judge wants.
func TestFaultFederate(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	numbers := e.numbers(t)
	a := settle(t, numbers)
	stop := a.says()
	end := time.Now().Add(e.window(4*time.Second, 12))
	for round := 0; round < 4 || time.Now().Before(end); round++ {
		a.strike(round % 4)
	}
	newest := stop()
	a.awaitNewest(newest)
	a.sender.terminateSender()
	a.worker.terminate(syscall.SIGTERM)
	again := 0
	for _, s := range a.servers {
		again += s.verify(t, a.outages)
	}
	if again == 0 {
		t.Error("no transaction came again: nothing was tried")
	}
}

// abroad is two homeservers and what sends to them.
type abroad struct {
	*deployment

	numbers *rand.Rand
	servers []*recorder
	worker  *workerProcess
	sender  *federator
	environ []string    // of the sender
	outages []time.Time // when they began
}

// federator is a process of router-worker federate.
type federator struct{ *workerProcess }

func (f *federator) terminateSender() {
	f.t.Helper()
	f.signal(syscall.SIGTERM)
	f.awaitExit(0)
}

// recorder keeps what a homeserver got, in order.
type recorder struct {
	*matrixtest.Server

	link *integration.Link
	name string // of the homeserver

	mu  sync.Mutex
	got []matrixtest.Transaction
}

// settle starts a server, two homeservers, a worker that routes every user to both,
// and a sender.
func settle(t *testing.T, numbers *rand.Rand) *abroad {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	public, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	authority := matrixtest.NewAuthority(t)
	l := newLoad(numbers, 0, 0)
	a := &abroad{numbers: numbers}
	for range 2 {
		r := &recorder{Server: matrixtest.Start(t, authority.Certificate(t, "127.0.0.1"), map[string]ed25519.PublicKey{"example.com ed25519:a_test": public})}
		r.link = newLink(t, "nats://"+r.Address())
		r.name = strings.TrimPrefix(r.link.URL(), "nats://")
		r.record(t)
		a.servers = append(a.servers, r)
	}
	for n := range abroadUsers {
		user := presence.MustUserID(fmt.Sprintf("@user%d:example.com", n))
		l.users = append(l.users, user)
		for _, r := range a.servers {
			l.readers[user] = append(l.readers[user], presence.MustUserID("@eva:"+r.name))
		}
	}
	a.deployment = deploy(t, l)
	key := filepath.Join(t.TempDir(), "signing.key")
	if err := os.WriteFile(key, []byte("ed25519 a_test "+base64.RawStdEncoding.EncodeToString(seed)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.environ = []string{
		"ROUTER_WORKER_NATS_URL=" + a.server.URL(), "ROUTER_WORKER_HTTP_LISTEN=127.0.0.1:0", "ROUTER_WORKER_NATS_CONNECT_TIMEOUT=5m",
		fmt.Sprintf("ROUTER_WORKER_FEDERATE_KEYS=[{server_name: example.com, key_file: %q}]", key),
		"ROUTER_WORKER_FEDERATE_CA=" + authority.File(t), "ROUTER_WORKER_FEDERATE_BLOCKED_NETWORKS=[]",
		"ROUTER_WORKER_FEDERATE_FIRST_RETRY=10ms", "ROUTER_WORKER_FEDERATE_LONGEST_RETRY=200ms",
		"ROUTER_WORKER_FEDERATE_ACK_WAIT=3s", "ROUTER_WORKER_FEDERATE_REQUEST_TIMEOUT=1s",
	}
	a.worker = a.startReady()
	a.startSender()
	return a
}

// record keeps what comes until the test ends.
func (r *recorder) record(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	go func() {
		for {
			select {
			case got := <-r.Got():
				r.note(got)
			case <-ctx.Done():
				return
			}
		}
	}()
}

func (r *recorder) note(got matrixtest.Transaction) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, got)
}

func (a *abroad) startSender() {
	a.t.Helper()
	a.sender = &federator{startProcess(a.t, a.binary, "sender", a.environ, "federate", "--config", a.config)}
	a.sender.awaitLog("starting to federate")
}

// says has every user say greater and greater numbers. stop returns the last ones.
func (a *abroad) says() (stop func() map[string]int) {
	newest := make(map[string]int)
	quit := make(chan struct{})
	var saying sync.WaitGroup
	saying.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-tick.C:
			case <-quit:
				return
			}
			user := presence.MustUserID(fmt.Sprintf("@user%d:example.com", n%abroadUsers))
			name, _ := json.Marshal(user)
			u := integration.Update{Number: n, User: user, JSON: fmt.Appendf(nil, `{"user_id":%s,"state":"online","status_msg":"%d"}`, name, n)}
			if err := a.publishOne(&u); err != nil {
				a.t.Error(err)
				return
			}
			newest[user.String()] = n
		}
	})
	return func() map[string]int {
		close(quit)
		saying.Wait()
		return newest
	}
}

// strike does one of four things, and has a homeserver fail meanwhile.
func (a *abroad) strike(which int) {
	a.t.Helper()
	ctx := a.t.Context()
	one := a.servers[a.numbers.IntN(len(a.servers))]
	faults := []http.HandlerFunc{
		matrixtest.Status(http.StatusInternalServerError, "oops"), matrixtest.Status(http.StatusBadGateway, "oops"),
		matrixtest.Slow, matrixtest.Closed, matrixtest.Status(http.StatusTooManyRequests, "{}", "Retry-After", "1"),
	}
	a.numbers.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	one.Fail(faults[:1+a.numbers.IntN(3)]...)
	after(ctx, upTo(a.numbers, time.Second))
	switch which {
	case 0:
		a.sender.kill()
		after(ctx, upTo(a.numbers, time.Second))
		a.startSender()
	case 2:
		a.outages = append(a.outages, time.Now())
		if err := a.server.Kill(); err != nil {
			a.t.Fatal(err)
		}
		after(ctx, upTo(a.numbers, time.Second))
		if err := a.server.Start(ctx); err != nil {
			a.t.Fatal(err)
		}
	case 1: // The homeserver is away: what was on its way is lost, and so are answers.
		one.link.Hold([]integration.Direction{integration.ToServers, integration.ToClient, integration.Both}[a.numbers.IntN(3)])
		after(ctx, upTo(a.numbers, 2*time.Second))
		one.link.Cut()
		one.link.Pass()
	default:
		a.sender.terminateSender()
		a.startSender()
	}
}

// awaitNewest waits until both homeservers have the newest state of every user.
func (a *abroad) awaitNewest(newest map[string]int) {
	a.t.Helper()
	for _, r := range a.servers {
		err := retry(a.t.Context(), commitTimeout, func(context.Context) error {
			has := r.newest()
			for user, n := range newest {
				if has[user] != n {
					return fmt.Errorf("%s has %d of %s, the newest is %d", r.name, has[user], user, n)
				}
			}
			return nil
		})
		if err != nil {
			a.t.Error(err)
		}
	}
}

// newest returns what the last transaction that was taken said of each user. One that came
// late does not count: verify says whether it may.
func (r *recorder) newest() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	newest, last := make(map[string]int), make(map[string]int)
	for _, got := range r.got {
		process, number := nameOf(got)
		if !got.Refused && number >= last[process] {
			maps.Copy(newest, numbersOf(got))
		}
		last[process] = max(last[process], number)
	}
	return newest
}

// numbersOf returns the number that a transaction says of each user.
func numbersOf(t matrixtest.Transaction) map[string]int {
	said := make(map[string]int)
	for _, edu := range t.EDUs {
		for _, push := range edu.Content.Push {
			if push.StatusMsg != nil {
				said[push.UserID], _ = strconv.Atoi(*push.StatusMsg)
			}
		}
	}
	return said
}

// verify checks what the homeserver got of each process of a sender, and returns how many
// transactions came again.
func (r *recorder) verify(t *testing.T, outages []time.Time) int {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	processes := make(map[string][]matrixtest.Transaction)
	for _, got := range r.got {
		process, _ := nameOf(got)
		processes[process] = append(processes[process], got)
	}
	again := 0
	for _, got := range processes {
		j := newJudge(got, outages)
		for _, each := range got {
			j.hear(each)
		}
		for _, complaint := range j.complaints {
			t.Errorf("%s got %s", r.name, complaint)
		}
		again += j.again
	}
	t.Logf("%s got %d transactions of %d processes, %d of them again", r.name, len(r.got), len(processes), again)
	return again
}
