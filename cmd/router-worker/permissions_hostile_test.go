package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/wire"
)

// besieged is a deployment that goes on while somebody attacks it.
type besieged struct {
	*guarded

	admin      jetstream.JetStream
	homeserver jetstream.JetStream
	api        string // what the subjects of the JetStream API begin with outside the router's account
	asked      int    // whether the worker goes on
}

// besiege starts a worker, with deliveries that are read and a durable that has not
// acknowledged one.
func besiege(t *testing.T, g *guarded) *besieged {
	t.Helper()
	expect(t, 0, "", g.as("operator"), "topology", "apply")
	startWorker(t, append(g.as("worker"), `ROUTER_WORKER_MODULES=[{module: static, config: {routes: [
		{recipients: ["@alice:example.com", "@eva:island.example"], users: ["@bob:example.com"]},
		{recipients: ["@prober:example.com"], users: ["@probe:example.com"]}]}}]`))
	b := &besieged{guarded: g, api: apiPrefix, admin: natstest.JetStream(t, g.connect(t, "admin")), homeserver: natstest.JetStream(t, g.connect(t, "homeserver"))}
	for _, user := range []string{"feed", "federate", "archive"} {
		if _, err := b.admin.CreateConsumer(t.Context(), "PRESENCE_DELIVERIES", jetstream.ConsumerConfig{
			Durable: user, FilterSubject: filterOf(user), AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour,
		}); err != nil {
			t.Fatal(err)
		}
	}
	publishRaw(t, b.homeserver, "presence.update.example%2Ecom.bob", bobIsOnline, nil)
	b.wantGoesOn(t)
	eventually(t, func() error {
		if natstest.Count(t, b.admin, "PRESENCE_STATE", ">") != 2 {
			return errors.New("the newest states are not copied")
		}
		return nil
	})
	for _, user := range []string{"feed", "federate"} {
		consumer, err := b.admin.Consumer(t.Context(), "PRESENCE_DELIVERIES", user)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := consumer.Next(); err != nil || m == nil {
			t.Fatalf("%s reads %v, error %v, want a delivery that is not acknowledged", user, m, err)
		}
	}
	return b
}

// wantGoesOn publishes an update of partition 0, as the homeserver, and waits until it
// is delivered. What was done before has had its effect then.
func (b *besieged) wantGoesOn(t *testing.T) {
	t.Helper()
	b.asked++
	publishRaw(t, b.homeserver, "presence.update.example%2Ecom.probe",
		fmt.Sprintf(`{"user_id":"@probe:example.com","state":"online","status_msg":"%d"}`, b.asked), nil)
	eventually(t, func() error {
		if got := natstest.Count(t, b.admin, "PRESENCE_DELIVERIES", "presence.deliver.*.*.example%2Ecom.prober"); got != b.asked {
			return fmt.Errorf("the worker delivers %d of %d updates", got, b.asked)
		}
		return nil
	})
}

// TestPermissionsRefuse has a hostile client log in as each role: what the role may not
// publish to or hear is denied, and whatever it puts into the requests that it may make,
// the streams and the consumers of others stay as they are and the worker goes on.
func TestPermissionsRefuse(t *testing.T) {
	t.Parallel()
	b := besiege(t, runGuarded(t, false))
	for _, user := range slices.Concat(insiders, outsiders) {
		t.Run(user, func(t *testing.T) {
			before := b.state(t, user)
			b.wantDenied(t, user)
			if slices.Contains(outsiders, user) {
				b.attack(t, user)
			}
			b.wantGoesOn(t)
			wantSame(t, before, b.state(t, user))
		})
	}
}

// wantSame tells the lines that are gone, and those that are new.
func wantSame(t *testing.T, before, after []string) {
	t.Helper()
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("after the attack this is gone: %s", line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			t.Errorf("after the attack this is new: %s", line)
		}
	}
}

// TestPermissionsInOneAccount has all users in one account: the same is denied, but a
// reply subject has the server store what it answers.
func TestPermissionsInOneAccount(t *testing.T) {
	t.Parallel()
	b := besiege(t, runAccounts(t, oneAccount(t), false))
	b.api = "$JS.API"
	for _, user := range outsiders {
		b.wantDenied(t, user)
	}
	b.wantGoesOn(t)
	for user, subject := range map[string]string{
		"homeserver": "presence.update.example%2Ecom.mallory", "alice": "$JS.API.STREAM.INFO.PRESENCE_DELIVERIES",
	} {
		forged := "presence.deliver.local.3.example%2Ecom." + user
		if err := b.connect(t, user).PublishRequest(subject, forged, nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if natstest.Count(t, b.admin, "PRESENCE_DELIVERIES", forged) == 0 {
				return fmt.Errorf("the answer to %s is not stored: the page can say better of one account", subject)
			}
			return nil
		})
	}
	b.wantGoesOn(t)
}

// TestWiderPermissionsAreNoticed widens each line of the page that lets somebody
// publish: TestPermissionsRefuse would find what is then allowed.
func TestWiderPermissionsAreNoticed(t *testing.T) {
	t.Parallel()
	for _, user := range permittedUsers(t) {
		for _, allowed := range user.Publish.Allow {
			for _, wider := range widened(allowed) {
				if !slices.ContainsFunc(targets(), func(target string) bool { return noticed(user.name, target, wider) }) {
					t.Errorf("if %s may publish to %s instead of %s, nothing notices it", user.name, wider, allowed)
				}
			}
		}
	}
}

// widened returns subject with its end replaced by everything, from each token on.
func widened(subject string) []string {
	tokens := strings.Split(subject, ".")
	var all []string
	for i := range tokens {
		if wider := strings.Join(append(slices.Clone(tokens[:i]), ">"), "."); wider != subject {
			all = append(all, wider)
		}
	}
	return all
}

func noticed(user, target, allowed string) bool {
	return server.SubjectMatchesFilter(target, allowed) &&
		!slices.ContainsFunc(entitled(user), func(own string) bool { return server.SubjectMatchesFilter(target, own) })
}

// wantDenied wants that user may publish to nothing but what it is entitled to, and
// hears nobody else's inbox.
func (b *besieged) wantDenied(t *testing.T, user string) {
	t.Helper()
	nc := b.connect(t, user)
	var want []string
	for _, target := range targets() {
		if slices.ContainsFunc(entitled(user), func(own string) bool {
			return server.SubjectMatchesFilter(target, strings.Replace(own, apiPrefix, b.api, 1))
		}) {
			continue
		}
		want = append(want, "publish "+target)
		if err := nc.Publish(target, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range overheard() {
		want = append(want, "subscribe "+subject)
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(bound); err != nil {
		t.Fatal(err)
	}
	_, denied := b.does.of(user)
	for _, act := range want {
		if !slices.Contains(denied, act) {
			t.Errorf("%s may %s, want that it is denied", user, act)
		}
	}
}

// attack does what no permission can refuse: the requests that user may make, with
// other replies, headers and bodies than those of our programs.
func (b *besieged) attack(t *testing.T, user string) {
	t.Helper()
	nc := b.connect(t, user)
	for _, request := range b.requests(user) {
		for _, reply := range replies() {
			hostile := nats.Msg{Subject: request.Subject, Reply: reply, Data: request.Data}
			if err := nc.PublishMsg(&hostile); err != nil {
				t.Fatal(err)
			}
		}
		for _, lines := range headers() {
			hostile := nats.Msg{Subject: request.Subject, Reply: nc.NewInbox(), Data: request.Data, Header: nats.Header{}}
			for line := range strings.SplitSeq(lines, "\n") {
				name, value, _ := strings.Cut(line, ": ")
				hostile.Header[name] = []string{value}
			}
			if err := nc.PublishMsg(&hostile); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := nc.FlushTimeout(bound); err != nil {
		t.Fatal(err)
	}
	if filterOf(user) != "" {
		b.attackConsumer(t, user)
	}
	b.attackWithSize(t, user)
}

// requests returns the requests that user may make, with a body that is in order.
func (b *besieged) requests(user string) []*nats.Msg {
	var requests []*nats.Msg
	for _, subject := range entitled(user) {
		literal := strings.NewReplacer(".*", ".mallory", ".>", ".1.1.1.1.0")
		m := &nats.Msg{Subject: subject}
		switch {
		case strings.Contains(subject, ".CREATE."):
			m.Data = fmt.Appendf(nil, `{"stream_name":"PRESENCE_DELIVERIES","config":{"name":%q,"filter_subject":%q,"ack_policy":"none"}}`, user, filterOf(user))
		case strings.Contains(subject, ".MSG.NEXT."):
			m.Data = []byte(`{"batch":10,"no_wait":true}`)
		case strings.Contains(subject, ".update."):
			m.Subject, m.Data = literal.Replace(subject), []byte(`{"user_id":"@mallory:example.com","state":"online"}`)
		case strings.HasSuffix(subject, "interested_users"):
			m.Data = []byte(`{"user_id":"@alice:example.com"}`)
		case strings.HasPrefix(subject, "$JS.ACK."), strings.Contains(subject, ".DIRECT.GET."):
			m.Subject = literal.Replace(subject)
		}
		requests = append(requests, m)
	}
	return requests
}

// attackConsumer makes a reader's consumer in every wrong way. There is none that reads
// anything else than the reader's selection, or of another name.
func (b *besieged) attackConsumer(t *testing.T, user string) {
	t.Helper()
	nc := b.connect(t, user)
	subject := "presence.js.CONSUMER.CREATE.PRESENCE_DELIVERIES." + user + "." + filterOf(user)
	for _, body := range consumerBodies(user, filterOf(user)) {
		if err := b.admin.DeleteConsumer(t.Context(), "PRESENCE_DELIVERIES", user); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Fatal(err)
		}
		if _, err := nc.Request(subject, []byte(body), bound); err != nil {
			t.Fatalf("no answer to %.300s: %v", body, err)
		}
		consumer, err := b.admin.Consumer(t.Context(), "PRESENCE_DELIVERIES", user)
		if push, pushErr := b.admin.PushConsumer(t.Context(), "PRESENCE_DELIVERIES", user); pushErr == nil {
			b.wantSelection(t, user, push.CachedInfo().Config)
		} else if err == nil {
			b.wantSelection(t, user, consumer.CachedInfo().Config)
		}
		if strings.Contains(body, "deliver_subject") {
			b.wantGoesOn(t)
		}
	}
	_ = b.admin.DeleteConsumer(t.Context(), "PRESENCE_DELIVERIES", user)
}

func (b *besieged) wantSelection(t *testing.T, user string, c jetstream.ConsumerConfig) {
	t.Helper()
	if c.FilterSubject != filterOf(user) || len(c.FilterSubjects) > 0 {
		t.Errorf("%s has a consumer that reads %q and %q, want %q", user, c.FilterSubject, c.FilterSubjects, filterOf(user))
	}
}

// attackWithSize sends as much as the server takes, and more.
func (b *besieged) attackWithSize(t *testing.T, user string) {
	t.Helper()
	nc := b.connect(t, user)
	large := make([]byte, nc.MaxPayload())
	for _, request := range b.requests(user) {
		if err := errors.Join(nc.Publish(request.Subject, large), nc.FlushTimeout(bound)); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(b.url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close() //nolint:errcheck // The server has closed it.
	subject := b.requests(user)[0].Subject
	_, _ = fmt.Fprintf(raw, "CONNECT {\"user\":%q,\"pass\":\"secret\"}\r\nPUB %s %d\r\n%s\r\n", user, subject, 2*len(large), append(large, large...))
}

// state describes what an attack of user is not to change: the streams, what is stored
// in them, and the consumers of others.
func (b *besieged) state(t *testing.T, user string) (lines []string) {
	t.Helper()
	for _, name := range []string{"PRESENCE_UPDATES", "PRESENCE_DELIVERIES", "PRESENCE_DEAD", "PRESENCE_STATE", "KV_PRESENCE_WORKERS"} {
		s, err := b.admin.Stream(t.Context(), name)
		if err != nil {
			lines = append(lines, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		config, err := json.Marshal(s.CachedInfo().Config)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s created %v: %s", name, s.CachedInfo().Created, config))
		lines = append(lines, b.consumers(t.Context(), t, s, user)...)
		for _, m := range natstest.Stored(t, b.admin, name, ">") {
			if line := describe(m); line != "" {
				lines = append(lines, line)
			}
		}
	}
	names := b.admin.StreamNames(t.Context())
	for name := range names.Name() {
		lines = append(lines, "there is "+name)
	}
	return lines
}

func (b *besieged) consumers(ctx context.Context, t *testing.T, s jetstream.Stream, user string) (lines []string) {
	t.Helper()
	list := s.ListConsumers(ctx)
	for c := range list.Info() {
		if c.Name == user {
			continue
		}
		line := fmt.Sprintf("consumer %s of %s, acknowledged up to %d, %d not", c.Name, c.Config.FilterSubject, c.AckFloor.Stream, c.NumAckPending)
		if c.Config.AckPolicy == jetstream.AckNonePolicy { // which a worker may make again, of another name
			line = fmt.Sprintf("consumer of %s: %s", c.Config.FilterSubject, c.Config.Description)
		}
		lines = append(lines, line)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// describe returns a line about a message, none about what the worker goes on writing,
// what proves that, and updates of the user that an attacker may publish of.
func describe(m jetstream.Msg) string {
	var err error
	tokens := strings.Split(m.Subject(), ".")
	switch last := tokens[len(tokens)-1]; {
	case last == "prober", last == "probe", last == "mallory" && strings.Contains(m.Subject(), ".example%2Ecom."):
		return ""
	case tokens[1] == "dead":
		var letter wire.DeadLetter
		if letter, err = wire.DecodeDeadLetter(m.Data()); err == nil && letter.Subject == "presence.update.example%2Ecom.mallory" {
			return ""
		}
	case tokens[1] == "checkpoint":
		_, err = wire.DecodeCheckpoint(m.Data())
		return fmt.Sprintf("checkpoint on %s, error %v", m.Subject(), err)
	case last == "deployment/layout":
		_, err = wire.DecodeLayoutRecord(m.Data())
		return fmt.Sprintf("layout record, error %v", err)
	case tokens[0] == "$KV":
		_, err = wire.DecodeHeartbeat(m.Data())
		return fmt.Sprintf("heartbeat on %s, error %v", m.Subject(), err)
	}
	return fmt.Sprintf("%s, error %v: %v %.200s", m.Subject(), err, m.Headers(), m.Data())
}
