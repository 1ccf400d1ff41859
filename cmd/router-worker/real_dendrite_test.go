//go:build dendrite

package main_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
)

// TestRealDendrite has users of a real Dendrite put their presence while everything
// around it is killed, deleted and restarted: what Dendrite has taken is delivered once
// and in order. `make dendrite` builds that Dendrite and runs it.
func TestRealDendrite(t *testing.T) {
	t.Parallel()
	nats := natstest.Run(t)
	server := startDendrite(t, nats.URL())
	bob := server.register(t, "bob")
	d := &dendrited{env: withStreams(t), url: nats.URL()}
	d.dendrite = jetStream(t, d.url)
	startWorker(t, append(slices.Clone(d.env),
		`ROUTER_WORKER_MODULES=[{module: static, config: {routes: [{recipients: ["@alice:example.com"], users: ["@bob:example.com"]}]}}]`))
	d.env = append(d.env, fmt.Sprintf("ROUTER_WORKER_SOURCES_DENDRITE=[{nats: {url: %q}, server_names: [example.com], ack_wait: 2s}]", d.url))
	sources := []*process{d.follow(t), d.follow(t)}
	ready := func(p *process) {
		t.Helper()
		eventually(t, func() error {
			if code, body := get(t, p, "/readyz"); code != http.StatusOK {
				return fmt.Errorf("/readyz answers %d: %s", code, body)
			}
			return nil
		})
	}
	o := &observed{dendrited: d, bob: bob}

	o.putsAndWants(t, 20)
	bob.put(t, `{"presence":"unavailable"}`) // whose status is unchanged
	o.want = append(o.want, "unavailable "+o.last())
	o.putsAndWants(t, 1)

	// Each of two sources is killed and restarted while bob publishes.
	for i := range sources {
		o.puts(t, 10)
		sources[i].signal(syscall.SIGKILL)
		o.puts(t, 10)
		sources[i] = d.follow(t)
		o.putsAndWants(t, 10)
	}

	// Dendrite is restarted, and then finds its stream changed, so that it makes it again.
	o.puts(t, 10)
	server.restart(t)
	o.putsAndWants(t, 10)
	before := d.created(t)
	server.stop(t)
	d.changeStream(t)
	server.start(t)
	if after := d.created(t); !after.After(before) {
		t.Errorf("the stream is as old as before, want that Dendrite has made it again: the test changes too little")
	}
	ready(sources[0])
	o.putsAndWants(t, 10)

	// Somebody deletes the stream while Dendrite is away.
	server.stop(t)
	if err := d.dendrite.DeleteStream(t.Context(), dendriteTopic); err != nil {
		t.Fatal(err)
	}
	server.start(t)
	for _, p := range sources {
		ready(p)
	}
	o.putsAndWants(t, 10)

	// Dendrite's NATS is restarted: the stream was in its memory. Dendrite makes it again
	// when it has connected again.
	natstest.Restart(t, nats)
	eventually(t, func() error { return d.hasConsumer(t) })
	for _, p := range sources {
		ready(p)
	}
	o.putsAndWants(t, 10)
	server.restart(t)
	o.putsAndWants(t, 10)

	// A client's sync has bob be online, with the status that Dendrite has stored.
	bob.put(t, fmt.Sprintf(`{"presence":"unavailable","status_msg":%q}`, o.last()))
	o.want = append(o.want, "unavailable "+o.last())
	eventually(t, func() error { return bob.has(t.Context(), "unavailable", o.last()) })
	bob.sync(t)
	o.want = append(o.want, "online "+o.last())
	o.wants(t)
	for _, p := range sources {
		stop(t, p)
	}
}

// observed is what bob says, and what is to be delivered of it.
type observed struct {
	*dendrited

	bob  *dendriteUser
	n    int
	want []string // state and status
}

// puts has bob put his presence n times, each time with another status.
func (o *observed) puts(t *testing.T, n int) {
	t.Helper()
	for range n {
		o.n++
		o.bob.put(t, fmt.Sprintf(`{"presence":"online","status_msg":"%d"}`, o.n))
		o.want = append(o.want, "online "+strconv.Itoa(o.n))
	}
}

// last returns the status that bob has.
func (o *observed) last() string { return strconv.Itoa(o.n) }

func (o *observed) putsAndWants(t *testing.T, n int) {
	t.Helper()
	o.puts(t, n)
	o.wants(t)
}

// wants waits until everything is delivered, and wants it once and in order.
func (o *observed) wants(t *testing.T) {
	t.Helper()
	var got []string
	eventually(t, func() error {
		got = o.states(t)
		if len(got) < len(o.want) {
			return fmt.Errorf("%d states are delivered, want %d", len(got), len(o.want))
		}
		return nil
	})
	if !slices.Equal(got, o.want) {
		t.Fatalf("delivered is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(o.want, "\n"))
	}
}

// states returns state and status of all that is delivered to alice.
func (o *observed) states(t *testing.T) (all []string) {
	t.Helper()
	for _, body := range o.delivered(t) {
		var delivery struct {
			States []struct {
				State  string
				Status string `json:"status_msg"`
			}
		}
		if err := json.Unmarshal([]byte(body), &delivery); err != nil {
			t.Fatal(err)
		}
		for _, s := range delivery.States {
			all = append(all, s.State+" "+s.Status)
		}
	}
	return all
}

// created returns when the stream was made.
func (d *dendrited) created(t *testing.T) time.Time {
	t.Helper()
	stream, err := d.dendrite.Stream(t.Context(), dendriteTopic)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Created
}

// changeStream does what nobody should: Dendrite does not leave it so.
func (d *dendrited) changeStream(t *testing.T) {
	t.Helper()
	stream, err := d.dendrite.Stream(t.Context(), dendriteTopic)
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	c.MaxAge = time.Hour
	if _, err := d.dendrite.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func (d *dendrited) hasConsumer(t *testing.T) error {
	t.Helper()
	_, err := d.dendrite.Consumer(t.Context(), dendriteTopic, "presence-router")
	return err
}

// dendriteServer is a process of a real Dendrite, with the server name example.com.
type dendriteServer struct {
	binary, dir, url string
	process          *exec.Cmd
	log              *watched
	exited           chan struct{}
}

const dendriteConfig = `version: 2
global:
  server_name: example.com
  private_key: %[1]s/key.pem
  jetstream: {addresses: [%[2]q], topic_prefix: Dendrite, disable_tls_validation: false}
  presence: {enable_inbound: true, enable_outbound: true}
  disable_federation: true
client_api:
  registration_disabled: false
  rate_limiting: {enabled: false}
federation_api: {database: {connection_string: "file:%[1]s/federation.db"}}
key_server: {database: {connection_string: "file:%[1]s/keys.db"}}
media_api: {base_path: %[1]s/media, database: {connection_string: "file:%[1]s/media.db"}}
mscs: {database: {connection_string: "file:%[1]s/mscs.db"}}
relay_api: {database: {connection_string: "file:%[1]s/relay.db"}}
room_server: {database: {connection_string: "file:%[1]s/rooms.db"}}
sync_api: {database: {connection_string: "file:%[1]s/sync.db"}, search: {enabled: false}}
user_api:
  bcrypt_cost: 4
  account_database: {connection_string: "file:%[1]s/accounts.db"}
`

// startDendrite starts the Dendrite that the variable DENDRITE names.
func startDendrite(t *testing.T, natsURL string) *dendriteServer {
	t.Helper()
	s := &dendriteServer{binary: os.Getenv("DENDRITE"), dir: t.TempDir()}
	if s.binary == "" {
		t.Fatal("DENDRITE names no program: make dendrite builds it and runs this test")
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "MATRIX PRIVATE KEY", Headers: map[string]string{"Key-ID": "ed25519:test"}, Bytes: key.Seed()})
	config := fmt.Sprintf(dendriteConfig, s.dir, natsURL)
	if err := errors.Join(
		os.WriteFile(filepath.Join(s.dir, "key.pem"), block, 0o600),
		os.WriteFile(filepath.Join(s.dir, "dendrite.yaml"), []byte(config), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + unusedAddress(t)
	s.start(t)
	t.Cleanup(func() {
		_ = s.process.Process.Kill()
		<-s.exited
		if t.Failed() {
			t.Logf("log of Dendrite:\n%s", s.log)
		}
	})
	return s
}

// start starts the process and waits until it answers.
func (s *dendriteServer) start(t *testing.T) {
	t.Helper()
	if s.log == nil {
		s.log = newWatched()
	}
	s.process = exec.CommandContext(t.Context(), s.binary, "-config", "dendrite.yaml", "-really-enable-open-registration", //nolint:gosec // The test's own.
		"-http-bind-address", strings.TrimPrefix(s.url, "http://"))
	s.process.Dir, s.process.Stdout, s.process.Stderr = s.dir, s.log, s.log
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	process, exited := s.process, make(chan struct{})
	s.exited = exited
	go func() {
		defer close(exited)
		_ = process.Wait()
	}()
	eventually(t, func() error {
		select {
		case <-exited:
			t.Fatalf("Dendrite ends with %v:\n%s", process.ProcessState, s.log)
		default:
		}
		_, err := s.ask(t.Context(), http.MethodGet, "/_matrix/client/versions", "", "")
		return err
	})
}

// stop ends the process in good order.
func (s *dendriteServer) stop(t *testing.T) {
	t.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-time.After(bound):
		t.Fatalf("Dendrite runs on after %v", bound)
	}
}

func (s *dendriteServer) restart(t *testing.T) {
	t.Helper()
	s.stop(t)
	s.start(t)
}

// ask makes a request, and returns the body of an answer with 200.
func (s *dendriteServer) ask(ctx context.Context, method, path, token, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // It was only read.
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s answers %d: %s", method, path, response.StatusCode, answer)
	}
	return answer, err
}

// dendriteUser is a user of a Dendrite who is logged in.
type dendriteUser struct {
	server *dendriteServer
	id     string
	token  string
}

func (s *dendriteServer) register(t *testing.T, name string) *dendriteUser {
	t.Helper()
	answer, err := s.ask(t.Context(), http.MethodPost, "/_matrix/client/v3/register", "",
		fmt.Sprintf(`{"username":%q,"password":"a long secret","auth":{"type":"m.login.dummy"}}`, name))
	if err != nil {
		t.Fatal(err)
	}
	var registered struct {
		ID    string `json:"user_id"`
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(answer, &registered); err != nil || registered.Token == "" {
		t.Fatalf("registration answers %s, error %v, want a token", answer, err)
	}
	return &dendriteUser{server: s, id: registered.ID, token: registered.Token}
}

// put sets the presence of the user.
func (u *dendriteUser) put(t *testing.T, presence string) {
	t.Helper()
	if _, err := u.server.ask(t.Context(), http.MethodPut, "/_matrix/client/v3/presence/"+u.id+"/status", u.token, presence); err != nil {
		t.Fatal(err)
	}
}

// has returns nil if Dendrite has stored that the user is in a state with a status.
func (u *dendriteUser) has(ctx context.Context, state, status string) error {
	answer, err := u.server.ask(ctx, http.MethodGet, "/_matrix/client/v3/presence/"+u.id+"/status", u.token, "")
	if err != nil {
		return err
	}
	var stored struct {
		State  string `json:"presence"`
		Status string `json:"status_msg"`
	}
	if err := json.Unmarshal(answer, &stored); err != nil || stored.State != state || stored.Status != status {
		return fmt.Errorf("presence is %s, error %w, want %s and %q", answer, err, state, status)
	}
	return nil
}

// sync does what a client does that has come back.
func (u *dendriteUser) sync(t *testing.T) {
	t.Helper()
	if _, err := u.server.ask(t.Context(), http.MethodGet, "/_matrix/client/v3/sync?timeout=0&set_presence=online", u.token, ""); err != nil {
		t.Fatal(err)
	}
}
