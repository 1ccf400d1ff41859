package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
)

const (
	barWidth  = 20   // characters of 1 R
	shortfall = 0.95 // of the rate that was to be reached, below which the text says what was
)

// WriteText writes the report for people: a table for each kind of streams, with a
// bar for what each rate is of R.
func (r Report) WriteText(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\nrounds: %d, of which the medians are shown; R is the rate of publishing messages like deliveries, %d unacknowledged; CPU is in seconds per\nmillion messages or pairs of update and recipient\n",
		r.Machine, r.Rounds, pending)
	for _, t := range r.Tables {
		t.write(&text)
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (t Table) write(text *strings.Builder) {
	fmt.Fprintf(text, "\n%s storage, replicas %d\n", t.Storage, t.Replicas)
	fmt.Fprintf(text, "  %-26s %10s %12s %10s  %5s %-*s  %s  %6s\n", "", "updates/s", "deliveries/s", "pairs/s", "of R", barWidth+1, "", "CPU client + server", "memory")
	for _, row := range t.Rows {
		if row.Median.Rate == 0 {
			fmt.Fprintln(text, strings.TrimRight(row.rates(), " "))
		}
	}
	for _, row := range t.Rows {
		if row.Median.Rate > 0 {
			fmt.Fprintln(text, row.latency())
		}
	}
}

func (r Row) rates() string {
	f := r.Median
	deliveries := f.Deliveries
	if deliveries == 0 {
		deliveries = f.Messages
	}
	return fmt.Sprintf("  %-26s %10s %12s %10s  %5.2f %-*s  %19s  %6s", r.Name, rate(f.Updates), rate(deliveries), rate(f.Pairs), f.OfR,
		barWidth+1, bar(f.OfR), cpu(f), megabytes(f.Resident))
}

func (r Row) latency() string {
	f := r.Median
	reached := ""
	if f.Updates < shortfall*f.Rate {
		reached = " (" + rate(f.Updates) + " reached)"
	}
	return fmt.Sprintf("  %-26s %10s updates/s%s: p50 %.2f ms, p99 %.2f ms, p999 %.2f ms", r.Name, rate(f.Rate), reached, f.P50, f.P99, f.P999)
}

// bar draws a share of R; what is beyond R is an arrow.
func bar(ofR float64) string {
	full := int(math.Round(ofR * barWidth))
	if full > barWidth {
		return strings.Repeat("█", barWidth) + "▶"
	}
	return strings.Repeat("█", full)
}

// rate writes a number with a comma between thousands, nothing for 0.
func rate(perSecond float64) string {
	digits := fmt.Sprintf("%.0f", perSecond)
	if digits == "0" {
		return ""
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// cpu writes what client and server took, nothing where it was not measured.
func cpu(f Figures) string {
	if f.WorkerCPU == 0 && f.ServerCPU == 0 {
		return ""
	}
	return fmt.Sprintf("%8s + %-8s", decimal(f.WorkerCPU), decimal(f.ServerCPU))
}

func decimal(value float64) string {
	if value == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", value)
}

func megabytes(bytes float64) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f MB", bytes/1e6)
}
