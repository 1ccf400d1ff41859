package status

import (
	"time"

	"github.com/presence-router/presence-router/stream/diagnosis"
	"github.com/presence-router/presence-router/stream/wire"
)

// Status is how a deployment is doing, as its streams and the bucket of workers
// tell.
type Status struct {
	Time        time.Time              `json:"time"`               // when it was read, by the server's clock
	ConfigHash  string                 `json:"config_hash"`        // that most workers have, "" without workers
	Workers     []Worker               `json:"workers"`            // those that are live, by ID
	Partitions  []Partition            `json:"partitions"`         // by number
	DeadLetters map[wire.Reason]uint64 `json:"dead_letters"`       // that are kept, by reason; nil if they cannot be read
	NewestDead  *NewestDeadLetter      `json:"newest_dead_letter"` // nil for none
	Repartition *Repartition           `json:"repartition"`        // nil where no change of the number of partitions is under way
	Problems    []diagnosis.Problem    `json:"problems"`           // with the servers and the streams, worst first

	UnknownWorkers bool `json:"unknown_workers,omitempty"` // the bucket of workers cannot be read

	UnsoundLayout string `json:"unsound_layout,omitempty"` // what is wrong with the layout record; "" if nothing is
	UnknownLayout bool   `json:"unknown_layout,omitempty"` // nothing tells whether workers are to serve the layout that updates are stored in
}

// Repartition is how a change of the number of partitions is doing that is
// under way. It ends when Repartition does; until then the updates wait that are
// published meanwhile, for as long as the updates stream keeps them.
type Repartition struct {
	From          int       `json:"from"` // partitions, which workers serve until it ends
	To            int       `json:"to"`
	Began         time.Time `json:"began"`
	Waiting       uint64    `json:"waiting"` // updates that wait for its end
	OldestWaiting float64   `json:"oldest_waiting_seconds"`
}

// NewestDeadLetter is the newest dead letter that is kept.
type NewestDeadLetter struct {
	Reason wire.Reason `json:"reason"` // "" if it is too old to tell
	Time   time.Time   `json:"time"`   // when it was stored
}

// Worker is how one worker is doing, as it said itself.
type Worker struct {
	ID                  string    `json:"id"`
	Version             string    `json:"version"`
	ConfigHash          string    `json:"config_hash"`
	ConfigDiffers       bool      `json:"config_differs"` // from that of most workers
	Started             time.Time `json:"started"`
	Leaving             bool      `json:"leaving"`           // it gives its partitions up and ends
	HeardAgo            float64   `json:"heard_seconds_ago"` // its newest heartbeat
	Partitions          []int     `json:"partitions"`        // that it has or is taking over
	UpdatesPerSecond    float64   `json:"updates_per_second"`
	DeliveriesPerSecond float64   `json:"deliveries_per_second"`

	NotLocal     uint64    `json:"not_local_updates,omitempty"` // that it routed to nobody, because neither their users nor the recipients are local
	LastNotLocal time.Time `json:"last_not_local,omitzero"`

	LostUpdates uint64    `json:"lost_updates,omitempty"` // that the updates stream dropped before this worker routed them
	LastLost    time.Time `json:"last_lost,omitzero"`

	StreamsDiffer []wire.StreamDifference `json:"streams_differ,omitempty"` // from its configuration
}

// Partition is how one partition is doing.
type Partition struct {
	Number           int     `json:"partition"`
	Owner            string  `json:"owner"`        // ID of the worker that has it, "" for none
	CommittedBy      string  `json:"committed_by"` // ID of the worker that wrote its checkpoint, "" where there is none
	Epoch            int64   `json:"epoch"`
	Sequence         uint64  `json:"sequence"` // of the newest update that is done
	Pending          uint64  `json:"pending"`  // updates behind it
	OldestPending    float64 `json:"oldest_pending_seconds"`
	UpdatesPerSecond float64 `json:"updates_per_second"`
	Unknown          bool    `json:"unknown,omitempty"`             // what is pending, and without CommittedBy its position too, cannot be read
	Resumes          bool    `json:"resumes"`                       // its position is one in an earlier updates stream, from which no worker has gone on yet
	Unsound          string  `json:"unsound,omitempty"`             // why the newest message in place of its checkpoint is none; "" if it is one
	Replaced         bool    `json:"checkpoint_replaced,omitempty"` // by that message: no checkpoint is left
}

// waiting is how long the oldest pending update has been waiting.
func (p Partition) waiting() time.Duration {
	return time.Duration(p.OldestPending * float64(time.Second))
}

// assemble fills in what follows from workers and partitions together. The
// heartbeats are those of the workers, in the same order.
func (s *Status) assemble(heartbeats []wire.Heartbeat) {
	s.ConfigHash = s.usualConfig()
	claims := make([]uint64, len(s.Partitions))
	for i := range s.Workers {
		w, h := &s.Workers[i], heartbeats[i]
		w.ConfigDiffers = w.ConfigHash != s.ConfigHash
		for at, number := range h.Partitions {
			if number >= len(s.Partitions) {
				continue
			}
			// Of two that say they have it, it is the one that claimed it last.
			if p := &s.Partitions[number]; p.Owner == "" || h.Claims[at] > claims[number] {
				p.Owner, p.UpdatesPerSecond, claims[number] = w.ID, rateOf(h, at), h.Claims[at]
			}
		}
	}
}

func rateOf(h wire.Heartbeat, at int) float64 {
	if len(h.Rates) == 0 {
		return 0
	}
	return h.Rates[at]
}

// usualConfig returns the configuration hash that most workers have; of equally
// many, the one of the worker that has been there for longest.
func (s *Status) usualConfig() string {
	count := make(map[string]int)
	for _, w := range s.Workers {
		count[w.ConfigHash]++
	}
	usual := Worker{}
	for _, w := range s.Workers {
		more := count[w.ConfigHash] - count[usual.ConfigHash]
		if more > 0 || more == 0 && w.Started.Before(usual.Started) {
			usual = w
		}
	}
	return usual.ConfigHash
}
