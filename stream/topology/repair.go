package topology

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/wire"
)

// repairer is the worker that checkpoints name which a Repair made up. No worker has
// that ID.
const repairer = "topology repair"

// Repair writes checkpoints and the layout record again where something else stands
// in their place, such as an acknowledgement that somebody had the server send there.
// Workers do the same by themselves as long as they can tell what is to stand there.
type Repair struct {
	js          jetstream.JetStream
	subjects    wire.Subjects
	layouts     deployment.Layouts
	checkpoints checkpoint.Store
	from        From
}

// From says where partitions begin whose checkpoint is gone.
type From string

// The places beside the number of an update.
const (
	FromOldest From = "oldest" // the oldest update that is kept: what was delivered is delivered again
	FromNewest From = "newest" // behind the newest update: what was not delivered is lost
)

// update returns the number of the first update to route, 0 for one of the places.
func (f From) update() (uint64, error) {
	if f == "" || f == FromOldest || f == FromNewest {
		return 0, nil
	}
	n, err := strconv.ParseUint(string(f), 10, 64)
	return n, fault.Check(err == nil && n > 0, "from", string(f), "oldest, newest or the sequence of an update")
}

// RepairConfig is what a Repair is configured with.
type RepairConfig struct {
	Prefix string // of the deployment's subjects
	From   From   // "" to leave alone what cannot be known
}

// Mend is one thing that a Repair writes again.
type Mend struct {
	What      string `json:"what"`              // "checkpoint" or "layout record"
	Partition int    `json:"partition"`         // of a checkpoint
	Reason    string `json:"reason"`            // why what stands there is not sound
	Write     string `json:"write"`             // what is written in its place
	Refused   string `json:"refused,omitempty"` // why nothing is

	do func(context.Context) error
}

// String says the mend in one line.
func (m Mend) String() string {
	what := m.What
	if m.What == checkpointMend {
		what = fmt.Sprintf("%s of partition %d", m.What, m.Partition)
	}
	if m.Refused != "" {
		return fmt.Sprintf("refuse %s: %s: %s", what, m.Reason, m.Refused)
	}
	return fmt.Sprintf("write %s: %s: %s", what, m.Write, m.Reason)
}

const (
	checkpointMend = "checkpoint"
	layoutMend     = "layout record"
)

// NewRepair returns a repair of the deployment on the server of js. The error joins a
// *fault.Field for each fault of config.
func NewRepair(js jetstream.JetStream, config RepairConfig) (*Repair, error) {
	if _, err := config.From.update(); err != nil {
		return nil, err
	}
	subjects, err := wire.NewSubjects(config.Prefix)
	if err != nil {
		return nil, err
	}
	points := checkpoint.NewStore(js, subjects)
	return &Repair{
		js: js, subjects: subjects, layouts: deployment.NewLayouts(js, subjects, points.Has), from: config.From, checkpoints: points,
	}, nil
}

// Plan returns what Apply would write, and writes nothing.
func (r *Repair) Plan(ctx context.Context) ([]Mend, error) {
	d, err := r.layouts.Divided(ctx)
	if err != nil {
		return nil, err
	}
	var mends []Mend
	layout := d.Serving()
	if d.Unsound() != nil {
		m, before, err := r.layout(ctx, d)
		if err != nil {
			return nil, err
		}
		mends, layout = append(mends, m), before
	}
	for n := range layout.Partitions {
		m, err := r.checkpoint(ctx, d.Updates, layout, n)
		if err != nil {
			return nil, err
		}
		if m != nil {
			mends = append(mends, *m)
		}
	}
	return mends, nil
}

// Apply writes what Plan returns, and returns it. What is refused is left alone, and
// the error then wraps ErrRefused. Where anybody else has written since it was read,
// such as a worker, nothing is written, and that is no error.
func (r *Repair) Apply(ctx context.Context) ([]Mend, error) {
	mends, err := r.Plan(ctx)
	if err != nil {
		return nil, err
	}
	for i, m := range mends {
		if m.Refused != "" {
			continue
		}
		err := m.do(ctx)
		if jsapi.Classify(err) == jsapi.Refused || errors.Is(err, deployment.ErrChanged) {
			mends[i].Write = "nothing, as somebody wrote there meanwhile"
		} else if err != nil {
			return mends, fmt.Errorf("write the %s again: %w", m.What, err)
		}
	}
	return mends, Unrepaired(mends)
}

// Unrepaired returns nil, or an error that wraps ErrRefused about the mends that Apply
// does not make.
func Unrepaired(mends []Mend) error {
	refused := 0
	for _, m := range mends {
		if m.Refused != "" {
			refused++
		}
	}
	if refused == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d repairs need a choice", ErrRefused, refused, len(mends))
}

const choice = `choose with --from: "oldest" delivers again what is kept of its updates, "newest" loses what was not delivered, a number begins with that update`

// checkpoint returns the mend of a partition's checkpoint, nil for a sound one or none.
func (r *Repair) checkpoint(ctx context.Context, updates *jetstream.StreamInfo, layout wire.Layout, number int) (*Mend, error) {
	id := deployment.Partition{Generation: layout.Generation, Number: number}
	found, err := r.checkpoints.Read(ctx, id)
	if err != nil || found.Foreign == nil || found.At == 0 && !found.Replaced {
		return nil, err // Without a checkpoint there is nothing to lose: a worker begins.
	}
	m := &Mend{What: checkpointMend, Partition: number, Reason: found.Foreign.Error()}
	next := found.Checkpoint
	next.Tail = found.Behind()
	m.Write = fmt.Sprintf("the newest one of a worker, at update %d", found.Sequence)
	if found.Replaced {
		if r.from == "" {
			m.Refused = "no checkpoint is left: " + choice
			return m, nil
		}
		from, err := r.beginning(ctx, updates, layout)
		if err != nil {
			return nil, err
		}
		next = from.Checkpoint(repairer, "repair-"+rand.Text())
		m.Write = fmt.Sprintf("a new one, at update %d", from.Sequence)
	}
	m.do = func(ctx context.Context) error {
		_, err := r.checkpoints.Write(ctx, id, found.Revision, next)
		return err
	}
	return m, nil
}

// beginning returns the position that was chosen, in the newest epoch that is known: for
// readers, positions then grow, or repeat.
func (r *Repair) beginning(ctx context.Context, updates *jetstream.StreamInfo, layout wire.Layout) (checkpoint.Position, error) {
	begin := checkpoint.Position{Epoch: updates.Created.UnixMilli(), Created: updates.Created}
	for n := range layout.Partitions {
		found, err := r.checkpoints.Read(ctx, deployment.Partition{Generation: layout.Generation, Number: n})
		if err != nil {
			return checkpoint.Position{}, err
		}
		begin.Epoch = max(begin.Epoch, found.Epoch)
	}
	first, err := r.from.update()
	newest := updates.State.LastSeq
	switch {
	case err != nil || r.from == FromOldest:
		return begin, err
	case r.from == FromNewest:
		begin.Sequence, begin.Time = newest, updates.State.LastTime
		return begin, nil
	case first > newest+1:
		return checkpoint.Position{}, fault.Check(false, "from", first, fmt.Sprintf("at most %d, the next update", newest+1))
	}
	begin.Sequence = first - 1
	begin.Time, err = r.storedAt(ctx, begin.Sequence)
	return begin, err
}

// storedAt returns when an update was stored, zero for one that is gone.
func (r *Repair) storedAt(ctx context.Context, sequence uint64) (time.Time, error) {
	if sequence == 0 {
		return time.Time{}, nil
	}
	updates := jsapi.Leader{NC: r.js.Conn(), Stream: r.subjects.UpdatesStream()}
	m, err := updates.Get(ctx, jsapi.MessageRequest{Sequence: sequence})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, nil
	}
	return m.Time, err
}

// layout returns the mend of the layout record, and the layout that it has served.
func (r *Repair) layout(ctx context.Context, d deployment.Division) (Mend, wire.Layout, error) {
	m := Mend{What: layoutMend, Reason: d.Unsound().Error()}
	record := wire.LayoutRecord{Serving: d.Stored}
	if d.Doubtful {
		before, found, err := r.before(ctx, d.Stored)
		if err != nil {
			return Mend{}, wire.Layout{}, err
		}
		if !found {
			m.Refused = "no layout before " + d.Stored.String() + " has checkpoints, so that nothing tells what is to be served"
			return m, d.Stored, nil
		}
		move, err := r.move(ctx, d)
		if err != nil {
			return Mend{}, wire.Layout{}, err
		}
		record = wire.LayoutRecord{Serving: before, Move: &move}
		m.Write = fmt.Sprintf("a change from %s is under way: finish it with router-worker topology repartition %d", before, move.To.Partitions)
	} else {
		m.Write = d.Stored.String()
	}
	m.do = func(ctx context.Context) error { return r.layouts.Store(ctx, record, d.Record.Revision) }
	return m, record.Serving, nil
}

// before returns the newest layout before another that has checkpoints, as far as there
// is anything of it: a partition without a checkpoint and without updates counts for
// nothing.
func (r *Repair) before(ctx context.Context, next wire.Layout) (layout wire.Layout, found bool, err error) {
	deliveries, err := r.js.Stream(ctx, r.subjects.DeliveriesStream())
	if err != nil {
		return wire.Layout{}, false, fmt.Errorf("look up stream %s: %w", r.subjects.DeliveriesStream(), err)
	}
	info, err := deliveries.Info(ctx, jetstream.WithSubjectFilter(r.subjects.Checkpoints()))
	if err != nil {
		return wire.Layout{}, false, fmt.Errorf("look up the checkpoints in stream %s: %w", r.subjects.DeliveriesStream(), err)
	}
	for subject := range info.State.Subjects {
		generation, number, err := r.subjects.ParseCheckpoint(subject)
		if err != nil || generation >= next.Generation || number >= deployment.MaxPartitions || generation < layout.Generation {
			continue
		}
		c, err := r.checkpoints.Read(ctx, deployment.Partition{Generation: generation, Number: number})
		if err != nil {
			return wire.Layout{}, false, err
		}
		if c.At == 0 {
			continue
		}
		if generation > layout.Generation {
			layout = wire.Layout{Generation: generation}
		}
		layout.Partitions, found = max(layout.Partitions, number+1), true
	}
	if !found {
		return wire.Layout{}, false, nil
	}
	layout.Partitions, err = r.withUpdates(ctx, layout)
	return layout, true, err
}

// withUpdates returns the number of partitions of a layout, those counted that have
// updates and were never claimed.
func (r *Repair) withUpdates(ctx context.Context, layout wire.Layout) (int, error) {
	updates := jsapi.Leader{NC: r.js.Conn(), Stream: r.subjects.UpdatesStream()}
	partitions := layout.Partitions
	for n := layout.Partitions; n < deployment.MaxPartitions; n++ {
		_, err := updates.Get(ctx, jsapi.MessageRequest{LastSubject: deployment.Partition{Generation: layout.Generation, Number: n}.Updates(r.subjects)})
		switch {
		case err == nil:
			partitions = n + 1
		case !errors.Is(err, jetstream.ErrMsgNotFound):
			return 0, err
		}
	}
	return partitions, nil
}

// move returns the change to the layout that updates are stored in.
func (r *Repair) move(ctx context.Context, d deployment.Division) (wire.LayoutMove, error) {
	deliveries, err := r.js.Stream(ctx, r.subjects.DeliveriesStream())
	if err != nil {
		return wire.LayoutMove{}, fmt.Errorf("look up stream %s: %w", r.subjects.DeliveriesStream(), err)
	}
	move := wire.LayoutMove{
		To: d.Stored, Sequence: d.Updates.State.LastSeq, Created: d.Updates.Created,
		Replicas: max(d.Updates.Config.Replicas, deliveries.CachedInfo().Config.Replicas), // The change may have taken those of the updates away.
	}
	updates := jsapi.Leader{NC: r.js.Conn(), Stream: r.subjects.UpdatesStream()}
	first, err := updates.Get(ctx, jsapi.MessageRequest{Sequence: 1, NextSubject: r.subjects.In(d.Stored.Generation).GenerationUpdates()})
	switch {
	case err == nil:
		move.Sequence = first.Sequence - 1
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return wire.LayoutMove{}, err
	}
	move.Time, err = r.storedAt(ctx, move.Sequence)
	return move, err
}
