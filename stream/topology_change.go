package stream

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Action is what a Change does to a stream.
type Action string

// The actions of a Change.
const (
	Create Action = "create" // the stream is missing
	Update Action = "update" // a setting differs and can be changed
	Refuse Action = "refuse" // a setting differs and changing it would lose data
	Keep   Action = "keep"   // the number of partitions differs and is kept, or a Repartition is under way
)

// Change is one difference between the streams on the server and the ones
// configured.
type Change struct {
	Stream  string `json:"stream"`
	Action  Action `json:"action"`
	Setting string `json:"setting,omitempty"` // empty where the stream is missing
	Have    string `json:"have,omitempty"`
	Want    string `json:"want,omitempty"`
	Reason  string `json:"reason,omitempty"` // why a change is refused, or not made
}

// String says the change in one line.
func (c Change) String() string {
	switch c.Action {
	case Create:
		return fmt.Sprintf("create %s: %s", c.Stream, c.Want)
	case Refuse:
		return fmt.Sprintf("refuse %s: %s is %s, configured is %s: %s", c.Stream, c.Setting, c.Have, c.Want, c.Reason)
	case Keep:
		return fmt.Sprintf("keep %s: %s is %s, configured is %s: %s", c.Stream, c.Setting, c.Have, c.Want, c.Reason)
	default:
		return fmt.Sprintf("update %s: %s from %s to %s", c.Stream, c.Setting, c.Have, c.Want)
	}
}

func compare(have *jetstream.StreamConfig, want jetstream.StreamConfig) []Change {
	if have == nil {
		return []Change{{Stream: want.Name, Action: Create, Want: describe(want)}}
	}
	var changes []Change
	for _, s := range settings() {
		if !s.differs(*have, want) {
			continue
		}
		change := Change{Stream: want.Name, Action: Update, Setting: s.name, Have: s.show(*have), Want: s.show(want)}
		if reason := s.refuse(*have, want); reason != "" {
			change.Action, change.Reason = Refuse, reason
		}
		changes = append(changes, change)
	}
	return changes
}

func describe(c jetstream.StreamConfig) string {
	var parts []string
	for _, s := range settings() {
		if value := s.show(c); value != "false" && value != "none" {
			parts = append(parts, s.name+" "+value)
		}
	}
	return strings.Join(parts, ", ")
}
