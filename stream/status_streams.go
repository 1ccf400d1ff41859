package stream

import (
	"fmt"
	"slices"
	"strings"

	"github.com/presence-router/presence-router/stream/wire"
)

// warnOfStreams gives one warning for each difference, with the workers that are
// configured so.
func (s Status) warnOfStreams() []string {
	type otherwise struct {
		wire.StreamDifference

		workers []string
	}
	var all []otherwise
	for _, w := range s.Workers {
		for _, d := range w.StreamsDiffer {
			at := slices.IndexFunc(all, func(o otherwise) bool { return o.Equal(d) })
			if at < 0 {
				at, all = len(all), append(all, otherwise{StreamDifference: d})
			}
			all[at].workers = append(all[at].workers, w.ID)
		}
	}
	var warnings []string
	for _, o := range all {
		warnings = append(warnings, fmt.Sprintf("The streams are not as configured: %s of %s is %s, and %s for %s. Workers go on with what there is: correct the configuration, or run router-worker topology apply.",
			o.Setting, strings.Join(o.Streams, ", "), o.Have, o.Configured, strings.Join(o.workers, ", ")))
	}
	return warnings
}
