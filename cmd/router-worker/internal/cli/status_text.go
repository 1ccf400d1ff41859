package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/status"
	"github.com/presence-router/presence-router/stream/wire"
)

// statusText returns the status for people, what matters most first.
func statusText(s status.Status, late time.Duration) string {
	var b strings.Builder
	writeSummary(&b, s)
	for _, warning := range s.Warnings(late) {
		fmt.Fprintf(&b, "! %s\n", terminal.Escape(warning))
	}
	if len(s.Workers) > 0 {
		b.WriteString("\n")
		writeWorkers(&b, s.Workers)
	}
	if len(s.Partitions) > 0 {
		b.WriteString("\n")
		writePartitions(&b, s)
	}
	return b.String()
}

func writeSummary(w io.Writer, s status.Status) {
	updates, pending, unread := 0.0, uint64(0), len(s.Partitions) == 0
	for _, worker := range s.Workers {
		updates += worker.UpdatesPerSecond
	}
	for _, p := range s.Partitions {
		pending += p.Pending
		unread = unread || p.Unknown
	}
	workers, backlog := plural.Of(len(s.Workers), "worker", "workers"), fmt.Sprintf("%d pending", pending)
	if s.UnknownWorkers {
		workers = "unknown workers"
	}
	if unread {
		backlog = "unknown backlog"
	}
	_, _ = fmt.Fprintf(w, "%s  %s, %s, %.1f updates/s, %s, %s\n",
		s.Time.Local().Format(time.DateTime), workers, plural.Of(len(s.Partitions), "partition", "partitions"),
		updates, backlog, lettersText(s.DeadLetters))
}

func lettersText(letters map[wire.Reason]uint64) string {
	if letters == nil {
		return "unknown dead letters"
	}
	var kinds []string
	total := 0
	for _, reason := range wire.Reasons() {
		if n := letters[reason]; n > 0 {
			total += int(n) //nolint:gosec // A count of stored messages stays far below 2^63.
			kinds = append(kinds, fmt.Sprintf("%d %s", n, reason))
		}
	}
	if total == 0 {
		return "no dead letters"
	}
	return fmt.Sprintf("%s (%s)", plural.Of(total, "dead letter", "dead letters"), strings.Join(kinds, ", "))
}

func writeWorkers(w io.Writer, workers []status.Worker) {
	table := newTable(w, "WORKER", "VERSION", "CONFIG", "STARTED", "PARTITIONS", "UPDATES/S", "DELIVERIES/S", "STATE")
	for _, worker := range workers {
		hash := worker.ConfigHash
		if worker.ConfigDiffers {
			hash += " (differs)"
		}
		table.row(worker.ID, worker.Version, hash, worker.Started.Local().Format(time.DateTime), ranges(worker.Partitions),
			perSecond(worker.UpdatesPerSecond), perSecond(worker.DeliveriesPerSecond), state(worker))
	}
	table.flush()
}

func state(w status.Worker) string {
	if w.Leaving {
		return "leaving"
	}
	return "live"
}

func writePartitions(w io.Writer, s status.Status) {
	table := newTable(w, "PARTITION", "OWNER", "POSITION", "PENDING", "OLDEST", "UPDATES/S")
	for _, p := range s.Partitions {
		owner, reached, pending, oldest := p.Owner, strconv.FormatUint(p.Sequence, 10), strconv.FormatUint(p.Pending, 10), "-"
		switch {
		case p.Pending > 0:
			oldest = seconds(p.OldestPending).String()
		case p.Unknown:
			pending, oldest = "?", "?"
		}
		if p.Unknown && p.CommittedBy == "" {
			reached = "?"
		}
		switch {
		case s.UnknownWorkers:
			owner = "?"
		case owner == "":
			owner = "none"
		}
		table.row(strconv.Itoa(p.Number), owner, reached, pending, oldest, perSecond(p.UpdatesPerSecond))
	}
	table.flush()
}

func perSecond(rate float64) string { return strconv.FormatFloat(rate, 'f', 1, 64) }

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond)
}

// ranges returns ascending numbers in short: 0-3, 7.
func ranges(numbers []int) string {
	if len(numbers) == 0 {
		return "none"
	}
	var parts []string
	for rest := numbers; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n] == rest[n-1]+1 {
			n++
		}
		part := strconv.Itoa(rest[0])
		if n > 1 {
			part += "-" + strconv.Itoa(rest[n-1])
		}
		parts, rest = append(parts, part), rest[n:]
	}
	return strings.Join(parts, ",")
}
