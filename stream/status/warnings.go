package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/internal/deployment"
)

// Warnings says in sentences what calls for somebody's attention. A backlog does
// once its oldest update has been waiting for longer than patience.
func (s Status) Warnings(patience time.Duration) []string {
	var warnings []string
	for _, p := range s.Problems {
		warnings = append(warnings, p.Sentence())
	}
	if len(s.Workers) == 0 && !s.UnknownWorkers {
		warnings = append(warnings, "No worker is running.")
	}
	warnings = append(warnings, s.warnOfRepartition()...)
	warnings = append(warnings, s.warnOfLayout()...)
	warnings = append(warnings, s.warnOfCheckpoints()...)
	warnings = append(warnings, s.warnOfConfig()...)
	warnings = append(warnings, s.warnOfStreams()...)
	warnings = append(warnings, s.warnOfLosses()...)
	warnings = append(warnings, s.warnOfNotLocal()...)
	warnings = append(warnings, s.warnOfOwners()...)
	warnings = append(warnings, s.warnOfLetters()...)
	return append(warnings, s.warnOfBacklog(patience)...)
}

func (s Status) warnOfRepartition() []string {
	r := s.Repartition
	if r == nil {
		return nil
	}
	oldest := ""
	if r.Waiting > 0 {
		oldest = fmt.Sprintf(", the oldest for %v", seconds(r.OldestWaiting))
	}
	return []string{fmt.Sprintf("A change from %d to %s is under way; %s for it%s; %s.",
		r.From, plural.Of(r.To, "partition", "partitions"), plural.Of(r.Waiting, "update waits", "updates wait"), oldest, deployment.Remedy(r.To))}
}

func (s Status) warnOfLayout() []string {
	switch {
	case s.UnsoundLayout == "":
		return nil
	case s.UnknownLayout:
		return []string{fmt.Sprintf("The layout record is not sound (%s), and a change of the number of partitions may be under way: run router-worker topology repair. Until then workers serve what they served.", s.UnsoundLayout)}
	default:
		return []string{fmt.Sprintf("Somebody has stored what no worker wrote in place of the layout record (%s). Nothing is lost: workers know the layout from the streams and write the record again.", s.UnsoundLayout)}
	}
}

// warnOfCheckpoints gives one reason for many partitions: the messages are alike.
func (s Status) warnOfCheckpoints() []string {
	var warnings []string
	reason := func(numbers []int) string { return s.Partitions[numbers[0]].Unsound }
	passed := s.numbers(func(p Partition) bool { return p.Unsound != "" && !p.Replaced })
	if len(passed) > 0 {
		warnings = append(warnings, fmt.Sprintf("Somebody has stored what no worker wrote in place of the checkpoint of %s (%s). Nothing is lost: workers go on from the newest checkpoint and replace it within seconds.",
			partitionList(passed), reason(passed)))
	}
	replaced := s.numbers(func(p Partition) bool { return p.Replaced })
	if len(replaced) > 0 {
		warnings = append(warnings, fmt.Sprintf("What no worker wrote has replaced the checkpoint of %s (%s), and no worker can claim it: run router-worker topology repair.",
			partitionList(replaced), reason(replaced)))
	}
	return warnings
}

// newLetter is how long a dead letter is new.
const newLetter = 15 * time.Minute

func (s Status) warnOfLetters() []string {
	if s.NewestDead == nil || s.Time.Sub(s.NewestDead.Time) > newLetter {
		return nil
	}
	total := uint64(0)
	for _, n := range s.DeadLetters {
		total += n
	}
	reason := ""
	if s.NewestDead.Reason != "" {
		reason = " (" + string(s.NewestDead.Reason) + ")"
	}
	return []string{fmt.Sprintf("%s kept, the newest%s stored %v ago: router-worker dead list shows why.",
		plural.Of(total, "dead letter is", "dead letters are"), reason, seconds(max(0, s.Time.Sub(s.NewestDead.Time).Seconds())))}
}

func (s Status) warnOfConfig() []string {
	var others []string
	for _, w := range s.Workers {
		if w.ConfigDiffers {
			others = append(others, w.ID)
		}
	}
	if len(others) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("Not every worker has the configuration %s: %s. In a rollout that passes.", s.ConfigHash, strings.Join(others, ", "))}
}

func (s Status) warnOfOwners() []string {
	if s.UnknownWorkers {
		return nil
	}
	var warnings []string
	unowned := s.numbers(func(p Partition) bool { return p.Owner == "" })
	if len(unowned) > 0 {
		warnings = append(warnings, fmt.Sprintf("No worker has %s.", partitionList(unowned)))
	}
	// The owner of a partition without updates has gone on and stores its position with the next one.
	resuming := s.numbers(func(p Partition) bool { return p.Resumes && p.Owner == "" })
	if len(resuming) > 0 {
		warnings = append(warnings, fmt.Sprintf("The updates stream was made again, and no worker has gone on in it with %s yet.", partitionList(resuming)))
	}
	return warnings
}

func (s Status) warnOfBacklog(patience time.Duration) []string {
	late := s.numbers(func(p Partition) bool { return p.waiting() > patience })
	if len(late) == 0 {
		return nil
	}
	longest := slices.MaxFunc(s.Partitions, func(a, b Partition) int { return cmp.Compare(a.OldestPending, b.OldestPending) })
	return []string{fmt.Sprintf("Updates have been waiting for longer than %v in %s; the oldest for %v, one of %d in partition %d.",
		patience, partitionList(late), seconds(longest.OldestPending), longest.Pending, longest.Number)}
}

func (s Status) numbers(which func(Partition) bool) []int {
	var numbers []int
	for _, p := range s.Partitions {
		if which(p) {
			numbers = append(numbers, p.Number)
		}
	}
	return numbers
}

// partitionList says which partitions those are: all of them where they are few.
func partitionList(numbers []int) string {
	const most = 10
	if len(numbers) == 1 {
		return fmt.Sprintf("partition %d", numbers[0])
	}
	list := fmt.Sprint(numbers[:min(most, len(numbers))])
	list = strings.ReplaceAll(strings.Trim(list, "[]"), " ", ", ")
	if len(numbers) > most {
		list += fmt.Sprintf(" and %d more", len(numbers)-most)
	}
	return "partitions " + list
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond)
}
