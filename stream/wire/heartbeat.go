package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Heartbeat is what a worker says of itself, again and again while it lives: the
// value of its key in the bucket of workers.
type Heartbeat struct {
	Worker     string    `json:"worker"`      // ID, the key
	Instance   string    `json:"instance"`    // differs each time the worker starts
	Version    string    `json:"version"`     // of the program
	ConfigHash string    `json:"config_hash"` // the same for workers that route alike
	Started    time.Time `json:"started"`
	Beat       uint64    `json:"beat"`                 // counts the heartbeats of the instance
	TTL        int64     `json:"ttl_ms"`               // how long without another heartbeat the worker counts as live, ms
	Leaving    bool      `json:"leaving,omitempty"`    // it takes no partition any more, and gives up those it has
	Generation int       `json:"generation,omitempty"` // of the layout that it serves
	Partitions []int     `json:"partitions"`           // that it has or is taking over, ascending
	Claims     []uint64  `json:"claims"`               // Claims[i] is the sequence of the checkpoint that Partitions[i] was claimed with, 0 until it is
	Updates    float64   `json:"updates_per_second"`
	Deliveries float64   `json:"deliveries_per_second"`
	Rates      []float64 `json:"partition_updates_per_second,omitempty"` // of the partitions, in the same order; missing where not known

	NotLocal     uint64    `json:"not_local_updates,omitempty"` // that this worker routed to nobody, because neither their users nor the recipients are local
	LastNotLocal time.Time `json:"last_not_local,omitzero"`

	LostUpdates uint64    `json:"lost_updates,omitempty"` // that the updates stream dropped before this worker routed them
	LastLost    time.Time `json:"last_lost,omitzero"`     // when it noticed the newest of them

	StreamsDiffer []StreamDifference `json:"streams_differ,omitempty"` // from its configuration
}

// Encode returns h as JSON, times in UTC.
func (h Heartbeat) Encode() ([]byte, error) {
	h.Started, h.LastLost, h.LastNotLocal = h.Started.UTC(), h.LastLost.UTC(), h.LastNotLocal.UTC()
	if h.Partitions == nil {
		h.Partitions, h.Claims = []int{}, []uint64{}
	}
	data, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode heartbeat: %w", err)
	}
	return data, nil
}

// DecodeHeartbeat returns the heartbeat that Encode wrote, or an error where it is
// not valid. Unknown fields are passed over.
func DecodeHeartbeat(data []byte) (Heartbeat, error) {
	var h Heartbeat
	if err := json.Unmarshal(data, &h); err != nil {
		return Heartbeat{}, fmt.Errorf("decode heartbeat: %w", err)
	}
	if err := h.Validate(); err != nil {
		return Heartbeat{}, fmt.Errorf("decode heartbeat: %w", err)
	}
	return h, nil
}

// Validate returns nil, or the joined errors that each name a field.
func (h Heartbeat) Validate() error {
	var errs []error
	if h.Worker == "" {
		errs = append(errs, errors.New("worker is missing, want the ID of a worker"))
	}
	if h.Instance == "" {
		errs = append(errs, errors.New("instance is missing, want the ID of a run of the worker"))
	}
	if h.TTL <= 0 {
		errs = append(errs, fmt.Errorf("ttl_ms is %d, want at least 1", h.TTL))
	}
	if h.Generation < 0 {
		errs = append(errs, fmt.Errorf("generation is %d, want at least 0", h.Generation))
	}
	if len(h.Rates) > 0 && len(h.Rates) != len(h.Partitions) {
		errs = append(errs, fmt.Errorf("partition_updates_per_second has %d entries, want one for each of %d partitions", len(h.Rates), len(h.Partitions)))
	}
	if len(h.Claims) != len(h.Partitions) {
		errs = append(errs, fmt.Errorf("claims holds %d sequences, want one for each of %d partitions", len(h.Claims), len(h.Partitions)))
	}
	for _, p := range h.Partitions {
		if p < 0 {
			errs = append(errs, fmt.Errorf("partitions holds %d, want at least 0", p))
		}
	}
	return errors.Join(errs...)
}

// Lifetime is how long without another heartbeat the worker counts as live.
func (h Heartbeat) Lifetime() time.Duration { return time.Duration(h.TTL) * time.Millisecond }

// After reports whether h is newer than other, a heartbeat of the same worker.
func (h Heartbeat) After(other Heartbeat) bool {
	if h.Instance == other.Instance {
		return h.Beat > other.Beat
	}
	return h.Replaces(other)
}

// Replaces reports whether h is of another run of the worker, one that started
// later.
func (h Heartbeat) Replaces(other Heartbeat) bool {
	if h.Instance == other.Instance {
		return false
	}
	if !h.Started.Equal(other.Started) {
		return h.Started.After(other.Started)
	}
	return h.Instance > other.Instance
}
