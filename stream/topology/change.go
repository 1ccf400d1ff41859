package topology

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
	Weaken Action = "weaken" // the same, and the deployment is weaker or loses messages by it; see AllowWeaker
	Refuse Action = "refuse" // a setting differs, and changing it is not allowed or not possible
	Keep   Action = "keep"   // a difference is left alone: the number of partitions differs, a Repartition is under way, or another change is refused
)

// Change is one difference between the streams on the server and the ones
// configured.
type Change struct {
	Stream  string `json:"stream"`
	Action  Action `json:"action"`
	Setting string `json:"setting,omitempty"` // empty where the stream is missing
	Have    string `json:"have,omitempty"`
	Want    string `json:"want,omitempty"`
	Reason  string `json:"reason,omitempty"` // why a change is refused, not made, or makes the deployment weaker

	rank   rank // of a setting
	moving bool // a Repartition is under way
}

// String says the change in one line.
func (c Change) String() string {
	switch c.Action {
	case Create:
		return fmt.Sprintf("create %s: %s", c.Stream, c.Want)
	case Refuse:
		return fmt.Sprintf("refuse %s: %s is %s, configured is %s: %s", c.Stream, c.Setting, c.Have, c.Want, c.Reason)
	case Weaken:
		return fmt.Sprintf("weaken %s: %s from %s to %s: %s", c.Stream, c.Setting, c.Have, c.Want, c.Reason)
	case Keep:
		return fmt.Sprintf("keep %s: %s is %s, configured is %s: %s", c.Stream, c.Setting, c.Have, c.Want, c.Reason)
	default:
		return fmt.Sprintf("update %s: %s from %s to %s", c.Stream, c.Setting, c.Have, c.Want)
	}
}

// held returns the change beside one that is refused.
func (c Change) held() Change {
	switch c.Action {
	case Create:
		c.Setting, c.Have = "stream", "missing"
	case Update, Weaken:
	case Refuse, Keep:
		return c
	}
	c.Action, c.Reason = Keep, "no change is made while another is refused"
	return c
}

// compare returns how the stream have, nil where it is missing, differs from want.
func (t *Streams) compare(have *jetstream.StreamInfo, want jetstream.StreamConfig) []Change {
	if have == nil {
		return []Change{{Stream: want.Name, Action: Create, Want: describe(want)}}
	}
	var changes []Change
	for _, s := range settings() {
		if !s.differs(have.Config, want) {
			continue
		}
		judged := s.judge(have, want)
		change := Change{
			Stream: want.Name, Action: Update, Setting: s.name, Have: s.show(have.Config), Want: s.show(want),
			Reason: judged.reason, rank: judged.rank,
		}
		switch {
		case judged.rank == weaker && t.allowWeaker:
			change.Action = Weaken
		case judged.rank == weaker:
			change.Action = Refuse
			change.Reason += "; if that is meant, run router-worker topology apply --allow-weaker"
		case judged.rank > weaker:
			change.Action = Refuse
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
