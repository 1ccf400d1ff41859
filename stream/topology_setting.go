package stream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// setting is one setting of a stream that the configuration decides: how it is
// shown, how it is carried over, and when changing it is refused.
type setting struct {
	name   string
	show   func(jetstream.StreamConfig) string
	set    func(have *jetstream.StreamConfig, want jetstream.StreamConfig)
	refuse func(have, want jetstream.StreamConfig) string // the reason, "" where the change is safe
	onlyOn bool                                           // a switch that is never turned off
}

func settings() []setting {
	return []setting{
		{
			name:   "subjects",
			show:   func(c jetstream.StreamConfig) string { return list(c.Subjects) },
			set:    func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Subjects = want.Subjects },
			refuse: always("messages on the subjects it has now would not be stored any more"),
		},
		{
			name: "subject transform",
			show: showTransform,
			// A difference is refused, and a Repartition may change it meanwhile.
			set:    func(_ *jetstream.StreamConfig, _ jetstream.StreamConfig) {},
			refuse: always("updates would not be stored by partition any more"),
		},
		{
			name:   "sources",
			show:   showSources,
			set:    func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Sources = want.Sources },
			refuse: always("messages would be copied again or not at all"),
		},
		{
			name:   "retention",
			show:   func(c jetstream.StreamConfig) string { return strings.ToLower(c.Retention.String()) },
			set:    func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Retention = want.Retention },
			refuse: always("the server cannot change it"),
		},
		{
			name:   "storage",
			show:   func(c jetstream.StreamConfig) string { return strings.ToLower(c.Storage.String()) },
			set:    func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Storage = want.Storage },
			refuse: always("the server cannot change it"),
		},
		{
			name:   "replicas",
			show:   func(c jetstream.StreamConfig) string { return strconv.Itoa(c.Replicas) },
			set:    func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Replicas = want.Replicas },
			refuse: never,
		},
		{
			name: "max_age",
			show: func(c jetstream.StreamConfig) string { return c.MaxAge.String() },
			set:  func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.MaxAge = want.MaxAge },
			refuse: func(have, want jetstream.StreamConfig) string {
				return lowered(int64(have.MaxAge), int64(want.MaxAge))
			},
		},
		{
			name: "max_bytes",
			show: func(c jetstream.StreamConfig) string { return strconv.FormatInt(c.MaxBytes, 10) },
			set:  func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.MaxBytes = want.MaxBytes },
			refuse: func(have, want jetstream.StreamConfig) string {
				if want.Discard == jetstream.DiscardNew {
					return ""
				}
				return lowered(have.MaxBytes, want.MaxBytes)
			},
		},
		{
			name: "discard",
			show: func(c jetstream.StreamConfig) string {
				return strings.TrimPrefix(strings.ToLower(c.Discard.String()), "discard")
			},
			set:    func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.Discard = want.Discard },
			refuse: never,
		},
		{
			name: "max_msgs",
			show: func(c jetstream.StreamConfig) string { return unlimited(c.MaxMsgs) },
			set:  func(have *jetstream.StreamConfig, want jetstream.StreamConfig) { have.MaxMsgs = want.MaxMsgs },
			// Configured is always no limit, so this only ever raises it.
			refuse: never,
		},
		{
			name: "max_msgs_per_subject",
			show: func(c jetstream.StreamConfig) string { return unlimited(c.MaxMsgsPerSubject) },
			set: func(have *jetstream.StreamConfig, want jetstream.StreamConfig) {
				have.MaxMsgsPerSubject = want.MaxMsgsPerSubject
			},
			refuse: never,
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
			refuse: never,
		},
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
		refuse: never,
		onlyOn: true,
	}
}

func never(_, _ jetstream.StreamConfig) string { return "" }

func always(reason string) func(_, _ jetstream.StreamConfig) string {
	return func(_, _ jetstream.StreamConfig) string { return reason }
}

// lowered compares limits of which 0 and less mean none.
func lowered(have, want int64) string {
	if want <= 0 || have > 0 && want >= have {
		return ""
	}
	return "messages that are kept now would be deleted; lower it with the NATS tools if that is meant"
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

func showTransform(c jetstream.StreamConfig) string {
	if c.SubjectTransform == nil {
		return "none"
	}
	return fmt.Sprintf("%s to %s", c.SubjectTransform.Source, c.SubjectTransform.Destination)
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
