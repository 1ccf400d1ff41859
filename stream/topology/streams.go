package topology

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/diagnosis"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/wire"
)

// ErrRefused is wrapped by the error of a change that would lose data or make the
// deployment weaker, or that the server cannot make.
var ErrRefused = deployment.ErrRefused

// Streams is the set of streams that the router works on.
type Streams struct {
	js       jetstream.JetStream
	subjects wire.Subjects
	layouts  deployment.Layouts
	config   Config

	allowWeaker bool
}

// Option changes how a Topology goes about changes.
type Option func(*Streams)

// AllowWeaker has Apply make changes too that delete messages, or let fewer servers
// fail.
func AllowWeaker() Option { return func(t *Streams) { t.allowWeaker = true } }

// New returns the streams that config describes, on the server of js.
func New(js jetstream.JetStream, config Config, opts ...Option) (*Streams, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	subjects, err := wire.NewSubjects(config.Prefix)
	if err != nil {
		return nil, err
	}
	t := &Streams{js: js, subjects: subjects, layouts: deployment.NewLayouts(js, subjects, checkpoint.NewStore(js, subjects).Has), config: config}
	for _, set := range opts {
		set(t)
	}
	return t, nil
}

// Plan returns what Apply would change, in order, and changes nothing. Streams
// that are as configured give no Change. Beside a change that is refused, the others are
// kept: Apply makes none of them.
func (t *Streams) Plan(ctx context.Context) ([]Change, error) {
	changes, err := t.differences(ctx)
	if err != nil || Refusal(changes) == nil {
		return changes, err
	}
	for i, c := range changes {
		changes[i] = c.held()
	}
	return changes, nil
}

// differences returns how the streams differ from those configured, in order.
func (t *Streams) differences(ctx context.Context) ([]Change, error) {
	d, err := t.divided(ctx)
	if err != nil {
		return nil, err
	}
	changes := t.kept(d)
	for _, want := range t.streams(d.Stored) {
		have, err := t.existing(ctx, want.Name)
		if err != nil {
			return nil, err
		}
		changes = append(changes, t.compare(have, want)...)
	}
	return changes, nil
}

// Apply creates the streams that are missing and updates those that differ, and
// returns the changes it made, also with the error of the server that stopped it. If
// one change is refused it makes none and returns the whole plan with an error that
// wraps ErrRefused.
func (t *Streams) Apply(ctx context.Context) ([]Change, error) {
	changes, err := t.Plan(ctx)
	if err != nil {
		return nil, err
	}
	if err := Refusal(changes); err != nil {
		return changes, err
	}
	changed := make(map[string]bool)
	for _, c := range changes {
		if c.Action != Keep {
			changed[c.Stream] = true
		}
	}
	d, err := t.divided(ctx)
	if err != nil {
		return nil, err
	}
	var made []Change
	for _, want := range t.streams(d.Stored) {
		if !changed[want.Name] {
			continue
		}
		if err := t.apply(ctx, want); err != nil {
			return made, err
		}
		for _, c := range changes {
			if c.Stream == want.Name {
				made = append(made, c)
			}
		}
	}
	return changes, nil
}

// Refusal returns nil, or the joined errors, which wrap ErrRefused, about the changes
// that Apply refuses to make.
func Refusal(changes []Change) error {
	var refused []error
	for _, c := range changes {
		if c.Action == Refuse {
			refused = append(refused, fmt.Errorf("%w: stream %s: %s is %s, configured is %s: %s", ErrRefused, c.Stream, c.Setting, c.Have, c.Want, c.Reason))
		}
	}
	return errors.Join(refused...)
}

func (t *Streams) existing(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	stream, err := t.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return stream.CachedInfo(), nil
}

// apply makes a stream as want says.
func (t *Streams) apply(ctx context.Context, want jetstream.StreamConfig) error {
	have, err := t.existing(ctx, want.Name)
	if err != nil {
		return err
	}
	if have == nil {
		return t.create(ctx, want)
	}
	return t.update(ctx, have.Config, want, func(string) bool { return true })
}

func (t *Streams) create(ctx context.Context, want jetstream.StreamConfig) error {
	if _, err := t.js.CreateStream(ctx, want); err != nil {
		return fmt.Errorf("create stream %s: %w", want.Name, diagnosis.ExplainRoom(t.subjects, want, err))
	}
	return nil
}

// update carries the settings of those names over. It keeps what the configuration
// does not speak of, such as a placement.
func (t *Streams) update(ctx context.Context, have, want jetstream.StreamConfig, which func(setting string) bool) error {
	for _, s := range settings() {
		if which(s.name) {
			s.set(&have, want)
		}
	}
	if _, err := t.js.UpdateStream(ctx, have); err != nil {
		return fmt.Errorf("update stream %s: %w", want.Name, diagnosis.ExplainRoom(t.subjects, want, err))
	}
	return nil
}

func (t *Streams) streams(layout wire.Layout) []jetstream.StreamConfig {
	streams := []jetstream.StreamConfig{t.updates(layout), t.deliveries(), t.dead(), t.workers()}
	if t.config.State.Enabled {
		streams = append(streams, t.state())
	}
	return streams
}

func (t *Streams) updates(layout wire.Layout) jetstream.StreamConfig {
	source := t.subjects.Updates()
	return t.common(jetstream.StreamConfig{
		Name:        t.subjects.UpdatesStream(),
		Description: "presence updates as homeservers published them, by partition",
		Subjects:    []string{source},
		SubjectTransform: &jetstream.SubjectTransformConfig{
			Source:      source,
			Destination: t.subjects.In(layout.Generation).UpdateTransform(layout.Partitions),
		},
		MaxAge:      t.config.Updates.MaxAge,
		MaxBytes:    t.config.Updates.MaxBytes,
		MaxMsgSize:  int32(t.config.Updates.MaxUpdateBytes + wire.HeaderRoom), //nolint:gosec // Validate bounds it.
		Discard:     jetstream.DiscardOld,
		AllowDirect: true,
	})
}

func (t *Streams) deliveries() jetstream.StreamConfig {
	return t.common(jetstream.StreamConfig{
		Name:               t.subjects.DeliveriesStream(),
		Description:        "presence deliveries, dead letters and the checkpoints they were committed with",
		Subjects:           []string{t.subjects.Deliveries(), t.subjects.Checkpoints(), t.subjects.DeadAll()},
		MaxAge:             t.config.Deliveries.MaxAge,
		MaxBytes:           t.config.Deliveries.MaxBytes,
		Discard:            jetstream.DiscardNew,
		AllowDirect:        true,
		AllowRollup:        true,
		AllowMsgTTL:        true,
		AllowAtomicPublish: true,
		AllowBatchPublish:  t.allowsFast(),
	})
}

// fastIngestVersion is the first version of the server that knows fast ingest.
const fastIngestVersion = "2.14.0"

// allowsFast reports whether the deliveries stream is to allow fast ingest. Replicas
// may forget that a batch was ended, see docs/decisions/0020.
func (t *Streams) allowsFast() bool {
	return t.config.Deliveries.FastIngest && t.config.Replicas == 1 && jsapi.AtLeast(t.js.Conn().ConnectedServerVersion(), fastIngestVersion)
}

func (t *Streams) dead() jetstream.StreamConfig {
	return t.common(jetstream.StreamConfig{
		Name:        t.subjects.DeadStream(),
		Description: "presence updates that could not be routed, with the reason",
		Sources:     []*jetstream.StreamSource{{Name: t.subjects.DeliveriesStream(), FilterSubject: t.subjects.DeadAll()}},
		MaxAge:      t.config.Dead.MaxAge,
		MaxBytes:    t.config.Dead.MaxBytes,
		Discard:     jetstream.DiscardOld,
		AllowDirect: true,
	})
}

// workers is the stream of a key-value bucket.
func (t *Streams) workers() jetstream.StreamConfig {
	return t.common(jetstream.StreamConfig{
		Name:              t.subjects.WorkersStream(),
		Description:       "heartbeats of the workers",
		Subjects:          []string{t.subjects.Heartbeats()},
		MaxMsgsPerSubject: 1,
		MaxBytes:          -1,
		Discard:           jetstream.DiscardNew,
		DenyDelete:        true,
		AllowDirect:       true,
		AllowRollup:       true,
		AllowMsgTTL:       true,
	})
}

func (t *Streams) state() jetstream.StreamConfig {
	return t.common(jetstream.StreamConfig{
		Name:        t.subjects.StateStream(),
		Description: "the newest presence update of every user",
		Sources: []*jetstream.StreamSource{{
			Name: t.subjects.UpdatesStream(),
			SubjectTransforms: []jetstream.SubjectTransformConfig{{
				Source: t.subjects.StoredUpdates(), Destination: t.subjects.StateTransform(),
			}},
		}},
		MaxAge:            t.config.State.MaxAge,
		MaxBytes:          t.config.State.MaxBytes,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardOld,
		AllowDirect:       true,
	})
}

func (t *Streams) common(c jetstream.StreamConfig) jetstream.StreamConfig {
	c.Retention = jetstream.LimitsPolicy
	c.Replicas = t.config.Replicas
	c.Storage = jetstream.FileStorage
	if t.config.Storage == Memory {
		c.Storage = jetstream.MemoryStorage
	}
	return c
}
