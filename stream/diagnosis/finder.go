package diagnosis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	diagnosisTimeout = 2 * time.Second // for each of what the server is asked
	fullFrom         = 95              // percent of max_bytes
	replicaPatience  = 3 * time.Second // with a replica that says nothing
)

// Option changes what is looked at.
type Option func(*Finder)

// WithoutStates leaves the stream of newest states out, which streams.state.enabled
// switches off.
func WithoutStates() Option { return func(d *Finder) { d.states = false } }

// Run returns what is wrong with the NATS servers and the streams of the deployment
// with the subject prefix, worst first; nothing if all is well. It asks for each stream
// once, and answers within 4 s. The error is about the prefix.
func Run(ctx context.Context, nc *nats.Conn, prefix string, opts ...Option) ([]Problem, error) {
	d, err := New(nc, prefix, opts...)
	if err != nil {
		return nil, err
	}
	return d.Look(ctx).Problems, nil
}

// Finder looks what is wrong with one deployment.
type Finder struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects wire.Subjects
	states   bool
}

// New returns a Finder of the deployment with the subject prefix.
func New(nc *nats.Conn, prefix string, opts ...Option) (*Finder, error) {
	subjects, err := wire.NewSubjects(prefix)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	d := &Finder{nc: nc, js: js, subjects: subjects, states: true}
	for _, set := range opts {
		set(d)
	}
	return d, nil
}

// Findings is what a look at the streams came to.
type Findings struct {
	Streams  map[string]*jetstream.StreamInfo // by name, those that answer
	Problems []Problem
}

// Err returns the problems as one error if not a single stream answers, else nil.
func (f Findings) Err() error {
	if len(f.Streams) > 0 {
		return nil
	}
	var errs []error
	for _, p := range f.Problems {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// Look asks for every stream at once.
func (d *Finder) Look(ctx context.Context) Findings {
	if !d.nc.IsConnected() {
		return Findings{Problems: []Problem{notConnected(d.nc)}}
	}
	known := d.known()
	answers := make([]streamAnswer, len(known))
	var asking sync.WaitGroup
	for i, k := range known {
		asking.Go(func() { answers[i] = d.ask(ctx, k) })
	}
	asking.Wait()
	found := Findings{Streams: make(map[string]*jetstream.StreamInfo)}
	for _, a := range answers {
		if a.info != nil {
			found.Streams[a.name] = a.info
		}
	}
	if p := d.all(ctx, answers); p != nil {
		found.Problems = []Problem{*p}
		return found
	}
	for _, a := range answers {
		found.Problems = append(found.Problems, a.problems()...)
	}
	found.Problems = append(found.Problems, away(answers)...)
	slices.SortStableFunc(found.Problems, func(a, b Problem) int {
		return slices.Index(Kinds(), a.Kind) - slices.Index(Kinds(), b.Kind)
	})
	return found
}

func notConnected(nc *nats.Conn) Problem {
	text := "not connected to NATS"
	if err := nc.LastError(); err != nil {
		text += ": " + err.Error()
	}
	return Problem{Kind: NotConnected, Text: text, Stops: true}
}

// knownStream is one of the streams of a deployment.
type knownStream struct {
	name     string
	settings string // in the configuration, "" for none
	missing  string // what it means that it is missing
	full     string // what it means that it is full
}

func (d *Finder) known() []knownStream {
	const copies = "workers make it again after 3 times worker.ttl, unless worker.apply_topology is false, and router-worker topology apply does at once"
	s := d.subjects
	known := []knownStream{
		{
			name: s.UpdatesStream(), settings: "streams.updates",
			missing: "updates are refused; router-worker topology apply, or a worker that starts, makes it again",
			full:    "the oldest updates are deleted to make room, routed or not",
		},
		{
			name: s.DeliveriesStream(), settings: "streams.deliveries",
			missing: "updates wait; router-worker topology apply, or a worker that starts, makes it again",
			full:    "workers wait when there is no room, until deliveries are older than streams.deliveries.max_age",
		},
		{
			name:    s.WorkersStream(),
			missing: "workers cannot share the partitions; router-worker topology apply, or a worker that starts, makes it again",
		},
		{
			name: s.DeadStream(), settings: "streams.dead",
			missing: "dead letters are kept for streams.deliveries.max_age only, in " + s.DeliveriesStream() + ", and reach it if it is made again until then; " + copies,
			full:    "the oldest dead letters are deleted to make room",
		},
	}
	if !d.states {
		return known
	}
	return append(known, knownStream{
		name: s.StateStream(), settings: "streams.state",
		missing: "send_online_presence and current_states are not answered; " + copies,
		full:    "the oldest states are deleted to make room, and their users count as offline",
	})
}

// streamAnswer is what the server says of a stream.
type streamAnswer struct {
	knownStream

	info *jetstream.StreamInfo
	err  error
}

func (d *Finder) ask(ctx context.Context, k knownStream) streamAnswer {
	ctx, cancel := context.WithTimeout(ctx, diagnosisTimeout)
	defer cancel()
	stream, err := d.js.Stream(ctx, k.name)
	if err != nil {
		return streamAnswer{knownStream: k, err: jsapi.NoJetStream(err)}
	}
	return streamAnswer{knownStream: k, info: stream.CachedInfo()}
}

func (a streamAnswer) missed() bool { return errors.Is(a.err, jetstream.ErrStreamNotFound) }

// silent reports whether nobody has answered.
func (a streamAnswer) silent() bool {
	return errors.Is(a.err, context.DeadlineExceeded) || errors.Is(a.err, nats.ErrTimeout) || errors.Is(a.err, nats.ErrReconnectBufExceeded)
}

// all returns what is wrong with all streams alike, nil for nothing.
func (d *Finder) all(ctx context.Context, answers []streamAnswer) *Problem {
	every := func(is func(streamAnswer) bool) bool {
		return !slices.ContainsFunc(answers, func(a streamAnswer) bool { return !is(a) })
	}
	switch {
	case every(streamAnswer.disabled):
		return &Problem{
			Kind: JetStreamDisabled, Stops: true,
			Text: "the NATS server has no JetStream, or not for this account: " + answers[0].err.Error(), cause: answers[0].err,
		}
	case every(streamAnswer.missed):
		return &Problem{
			Kind: StreamMissing, Stops: true, cause: answers[0].err,
			Text: "none of the streams is there, such as " + answers[0].name + ": router-worker topology apply makes them, if streams.subject_prefix is right",
		}
	case every(func(a streamAnswer) bool { return jsapi.Classify(a.err) == jsapi.Leaderless }):
		return &Problem{
			Kind: NoLeader, Stops: true,
			Text: "JetStream has no leader: most of the servers of the cluster are away or have just started",
		}
	case every(streamAnswer.silent):
		p := d.silence(ctx)
		return &p
	}
	return nil
}

// disabled reports whether JetStream is not there, for this account at least.
func (a streamAnswer) disabled() bool {
	return errors.Is(a.err, jetstream.ErrJetStreamNotEnabled) || errors.Is(a.err, jetstream.ErrJetStreamNotEnabledForAccount)
}

// silence finds out why nobody answers for any stream.
func (d *Finder) silence(ctx context.Context) Problem {
	ctx, cancel := context.WithTimeout(ctx, diagnosisTimeout)
	defer cancel()
	err := d.nc.FlushWithContext(ctx)
	switch {
	case !d.nc.IsConnected():
		return notConnected(d.nc)
	case err != nil:
		return Problem{
			Kind: NoAnswer, Stops: true,
			Text: "the NATS server does not answer: it, its machine or the network is stopped or very slow",
		}
	case errors.Is(d.nc.LastError(), nats.ErrPermissionViolation):
		return Problem{
			Kind: StreamUnreadable, Stops: true,
			Text: "permission denied: " + d.nc.LastError().Error(),
		}
	case d.nc.ConnectedClusterName() != "":
		return Problem{
			Kind: JetStreamDisabled, Stops: true,
			Text: "NATS answers and JetStream does not: its cluster elects a leader, or the servers have disabled it, as they do if their disk is full or fails: see their logs",
		}
	}
	return Problem{
		Kind: JetStreamDisabled, Stops: true,
		Text: "NATS answers and JetStream does not: the server is too busy, or has disabled it, as it does if its disk is full or fails, until it is restarted: see its log, and give it more disk than max_file_store",
	}
}

// problems returns what is wrong with the stream itself.
func (a streamAnswer) problems() []Problem {
	problem := func(kind Kind, format string, args ...any) []Problem {
		text := "stream " + a.name + " " + fmt.Sprintf(format, args...)
		return []Problem{{Kind: kind, Stream: a.name, Text: text, Stops: kind != StreamFull, cause: a.err}}
	}
	switch {
	case a.missed():
		return problem(StreamMissing, "is missing: %s", a.missing)
	case jsapi.Classify(a.err) == jsapi.Offline:
		return problem(NoLeader, "has no leader: every server that has it is away")
	case a.silent(), jsapi.Classify(a.err) == jsapi.Leaderless, a.info != nil && a.info.Cluster != nil && a.info.Cluster.Leader == "":
		return problem(NoLeader, "has no leader: servers that have it are away, or they elect one")
	case a.err != nil:
		return problem(StreamUnreadable, "cannot be looked up: %v", a.err)
	}
	if percent := a.percent(); percent >= fullFrom {
		return problem(StreamFull, "is full to %d %% of %s (%s): %s", percent, a.bound(), bytesText(a.info.Config.MaxBytes), a.full)
	}
	return nil
}

// percent is how much of what the stream may hold it holds.
func (a streamAnswer) percent() int64 {
	if a.info.Config.MaxBytes <= 0 {
		return 0
	}
	return int64(a.info.State.Bytes) * 100 / a.info.Config.MaxBytes //nolint:gosec // No disk has 2^56 bytes.
}

// bound names what bounds the stream's bytes.
func (a streamAnswer) bound() string {
	if a.settings == "" {
		return "its max_bytes"
	}
	return a.settings + ".max_bytes"
}

func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	at := 0
	for at < len(units)-1 && n > 0 && (n%(1<<10) == 0 || n >= 10<<10) {
		n /= 1 << 10
		at++
	}
	return fmt.Sprintf("%d %s", n, units[at])
}

// away returns a problem for each server whose replicas are away.
func away(answers []streamAnswer) []Problem {
	streams := make(map[string][]string) // by server
	var servers []string
	for _, a := range answers {
		if a.info == nil || a.info.Cluster == nil {
			continue
		}
		for _, r := range a.info.Cluster.Replicas {
			if !r.Offline && (r.Current || r.Active < replicaPatience) {
				continue
			}
			if len(streams[r.Name]) == 0 {
				servers = append(servers, r.Name)
			}
			streams[r.Name] = append(streams[r.Name], a.name)
		}
	}
	slices.Sort(servers)
	var problems []Problem
	for _, server := range servers {
		problems = append(problems, Problem{Kind: ReplicaAway, Text: fmt.Sprintf("server %s is away, and with it %s of %s: start it again, for without a majority of the replicas nothing is stored",
			server, plural.Of(len(streams[server]), "replica", "replicas"), strings.Join(streams[server], ", "))})
	}
	return problems
}
