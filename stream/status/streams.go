package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/presence-router/presence-router/internal/plural"
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

// lossMemory is for how long lost updates are worth a warning.
const lossMemory = 24 * time.Hour

// warnOfLosses sums up what the workers say that they did not get to.
func (s Status) warnOfLosses() []string {
	lost, last := uint64(0), time.Time{}
	for _, w := range s.Workers {
		if w.LostUpdates > 0 && s.Time.Sub(w.LastLost) < lossMemory {
			lost += w.LostUpdates
			last = latest(last, w.LastLost)
		}
	}
	if lost == 0 {
		return nil
	}
	return []string{fmt.Sprintf("The updates stream dropped %s not routed yet, the last %v ago: raise streams.updates.max_bytes or max_age, and see what holds the workers up.",
		plural.Of(lost, "update that was", "updates that were"), max(0, s.Time.Sub(last)).Round(time.Second))}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// notLocalMemory is for how long updates that go to nobody are worth a warning.
const notLocalMemory = 10 * time.Minute

// warnOfNotLocal names the workers that have routed updates to nobody.
func (s Status) warnOfNotLocal() []string {
	updates, workers := uint64(0), []string(nil)
	for _, w := range s.Workers {
		if w.NotLocal > 0 && s.Time.Sub(w.LastNotLocal) < notLocalMemory {
			updates += w.NotLocal
			workers = append(workers, w.ID)
		}
	}
	if updates == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s went to nobody: neither the users nor the recipients that routers chose are of server_names. Check server_names and the modules of %s.",
		plural.Of(updates, "update", "updates"), strings.Join(workers, ", "))}
}
