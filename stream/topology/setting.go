package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/deployment"
)

// rank is who makes a change of a setting.
type rank int

const (
	needed  rank = iota // a worker when it starts: the router does not work without it
	bounds              // a worker when it starts: a limit where there was none, that deletes nothing
	idle                // topology apply; for workers it makes no difference
	chosen              // topology apply
	weaker              // topology apply, where AllowWeaker is given
	fixed               // nobody; workers go on with what there is
	foreign             // nobody; no worker works on such a stream
)

// judgement is who makes a change, and for ranks from weaker on why not everybody does.
type judgement struct {
	rank   rank
	reason string
}

// setting is one setting of a stream that the configuration decides: how it is
// shown, how it is carried over, and who makes a change of it.
type setting struct {
	name   string
	show   func(jetstream.StreamConfig) string
	set    func(have *jetstream.StreamConfig, want jetstream.StreamConfig)
	judge  func(have *jetstream.StreamInfo, want jetstream.StreamConfig) judgement
	onlyOn bool // a switch that is never turned off
}

func settings() []setting {
	return []setting{
		{
			name:  "subjects",
			show:  func(c jetstream.StreamConfig) string { return list(c.Subjects) },
			set:   func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Subjects = want.Subjects },
			judge: always(foreign, "messages on the subjects it has now would not be stored any more"),
		},
		{
			name: "subject transform",
			show: deployment.ShowTransform,
			// A difference is refused, and a Repartition may change it meanwhile.
			set:   func(_ *jetstream.StreamConfig, _ jetstream.StreamConfig) {},
			judge: always(foreign, "updates would not be stored by partition any more"),
		},
		{
			name:  "sources",
			show:  showSources,
			set:   func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Sources = want.Sources },
			judge: always(foreign, "messages would be copied again or not at all"),
		},
		{
			name:  "retention",
			show:  func(c jetstream.StreamConfig) string { return strings.ToLower(c.Retention.String()) },
			set:   func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Retention = want.Retention },
			judge: always(foreign, "the server cannot change it"),
		},
		{
			name:  "storage",
			show:  func(c jetstream.StreamConfig) string { return strings.ToLower(c.Storage.String()) },
			set:   func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Storage = want.Storage },
			judge: always(fixed, "the server cannot change it"),
		},
		{
			name: "replicas",
			show: func(c jetstream.StreamConfig) string { return strconv.Itoa(c.Replicas) },
			set:  func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Replicas = want.Replicas },
			judge: func(have *jetstream.StreamInfo, want jetstream.StreamConfig) judgement {
				if want.Replicas < have.Config.Replicas {
					return judgement{weaker, "fewer servers could fail before messages are lost"}
				}
				return judgement{rank: chosen}
			},
		},
		{
			name: "max_age",
			show: func(c jetstream.StreamConfig) string { return c.MaxAge.String() },
			set:  func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.MaxAge = want.MaxAge },
			judge: func(have *jetstream.StreamInfo, want jetstream.StreamConfig) judgement {
				return lowered(int64(have.Config.MaxAge), int64(want.MaxAge))
			},
		},
		{
			name:  "max_bytes",
			show:  func(c jetstream.StreamConfig) string { return strconv.FormatInt(c.MaxBytes, 10) },
			set:   func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.MaxBytes = want.MaxBytes },
			judge: judgeBytes,
		},
		{
			name: "discard",
			show: func(c jetstream.StreamConfig) string {
				return strings.TrimPrefix(strings.ToLower(c.Discard.String()), "discard")
			},
			set: func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Discard = want.Discard },
			judge: func(_ *jetstream.StreamInfo, want jetstream.StreamConfig) judgement {
				if want.Discard == jetstream.DiscardOld {
					return judgement{weaker, "a full stream would delete the oldest messages"}
				}
				return judgement{rank: chosen}
			},
		},
		{
			name: "max_msgs",
			show: func(c jetstream.StreamConfig) string { return unlimited(c.MaxMsgs) },
			set:  func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.MaxMsgs = want.MaxMsgs },
			// Configured is always no limit, so this only ever raises it.
			judge: always(chosen, ""),
		},
		{
			name: "max_msgs_per_subject",
			show: func(c jetstream.StreamConfig) string { return unlimited(c.MaxMsgsPerSubject) },
			set: func(have *jetstream.StreamConfig, want jetstream.StreamConfig) {
				have.MaxMsgsPerSubject = want.MaxMsgsPerSubject
			},
			// Configured is no limit, or 1 where nobody reads more than the newest.
			judge: always(chosen, ""),
		},
		{
			name: "max_msg_size",
			show: func(c jetstream.StreamConfig) string { return unlimited(int64(c.MaxMsgSize)) },
			set:  func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.MaxMsgSize = want.MaxMsgSize },
			judge: func(have *jetstream.StreamInfo, want jetstream.StreamConfig) judgement {
				if have.Config.MaxMsgSize <= 0 {
					return judgement{rank: bounds}
				}
				if want.MaxMsgSize > 0 && want.MaxMsgSize < have.Config.MaxMsgSize {
					return judgement{weaker, "updates that fit now would be refused"}
				}
				return judgement{rank: chosen}
			},
		},
		flag("allow_direct", func(c *jetstream.StreamConfig) *bool { return &c.AllowDirect }),
		flag("allow_rollup", func(c *jetstream.StreamConfig) *bool { return &c.AllowRollup }),
		flag("allow_msg_ttl", func(c *jetstream.StreamConfig) *bool { return &c.AllowMsgTTL }),
		flag("allow_atomic", func(c *jetstream.StreamConfig) *bool { return &c.AllowAtomicPublish }),
		{
			name: "allow_batched",
			show: func(c jetstream.StreamConfig) string { return strconv.FormatBool(c.AllowBatchPublish) },
			set: func(have *jetstream.StreamConfig, want jetstream.StreamConfig) {
				have.AllowBatchPublish = want.AllowBatchPublish
			},
			judge: func(have *jetstream.StreamInfo, want jetstream.StreamConfig) judgement {
				if want.AllowBatchPublish && have.Config.Replicas == want.Replicas {
					return judgement{rank: bounds}
				}
				return judgement{rank: idle} // Workers use it with one replica only, if they are configured to.
			},
		},
	}
}

// judgeBytes has workers set a limit only for copies that have none: nothing in them
// waits to be routed.
func judgeBytes(have *jetstream.StreamInfo, want jetstream.StreamConfig) judgement {
	switch {
	case want.Discard == jetstream.DiscardNew:
		return judgement{rank: chosen}
	case len(want.Sources) > 0 && have.Config.MaxBytes <= 0 && have.State.Bytes <= uint64(max(0, want.MaxBytes)):
		return judgement{rank: bounds}
	default:
		return lowered(have.Config.MaxBytes, want.MaxBytes)
	}
}

func (s setting) differs(have, want jetstream.StreamConfig) bool {
	if s.onlyOn && s.show(have) == "true" {
		return false
	}
	return s.show(have) != s.show(want)
}

// flag is a switch that is only ever turned on: one that is on and not asked for
// does no harm and cannot always be turned off.
func flag(name string, field func(*jetstream.StreamConfig) *bool) setting {
	return setting{
		name: name,
		show: func(c jetstream.StreamConfig) string { return strconv.FormatBool(*field(&c)) },
		set: func(have *jetstream.StreamConfig, want jetstream.StreamConfig) {
			*field(have) = *field(have) || *field(&want)
		},
		judge:  always(needed, ""),
		onlyOn: true,
	}
}

func always(by rank, reason string) func(*jetstream.StreamInfo, jetstream.StreamConfig) judgement {
	return func(*jetstream.StreamInfo, jetstream.StreamConfig) judgement { return judgement{by, reason} }
}

// lowered compares limits of which 0 and less mean none.
func lowered(have, want int64) judgement {
	if want <= 0 || have > 0 && want >= have {
		return judgement{rank: chosen}
	}
	return judgement{weaker, "messages that are kept now would be deleted"}
}

func unlimited(n int64) string {
	if n <= 0 {
		return "none"
	}
	return strconv.FormatInt(n, 10)
}

func list(subjects []string) string {
	if len(subjects) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(slices.Values(subjects)), " ")
}

func showSources(c jetstream.StreamConfig) string {
	var names []string
	for _, s := range c.Sources {
		if s.FilterSubject != "" {
			names = append(names, s.Name+" "+s.FilterSubject)
		}
		for _, t := range s.SubjectTransforms {
			names = append(names, fmt.Sprintf("%s %s to %s", s.Name, t.Source, t.Destination))
		}
	}
	return list(names)
}
