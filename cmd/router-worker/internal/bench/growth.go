package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// series is one quantity that grows while all others stay.
type series struct {
	name  string // of the chart's file
	title string
	cases []Case
	value func(Case) int
}

func (c Config) series() []series {
	base := Case{Program: ownName, Workers: 1, Users: c.Users, Partitions: c.Partitions}.drawing(1)
	vary := func(name, title string, value func(*Case) *int, values ...int) series {
		s := series{name: name, title: title, value: func(c Case) int { return *value(&c) }}
		for _, v := range values {
			varied := base
			*value(&varied) = v
			s.cases = append(s.cases, varied.drawing(varied.Recipients))
		}
		return s
	}
	return []series{
		vary("recipients", "recipients of each update", func(c *Case) *int { return &c.Recipients }, 1, 3, 10, 30, 100),
		vary("users", "users with routes", func(c *Case) *int { return &c.Users }, 1_000, 10_000, 100_000),
		vary("partitions", "partitions", func(c *Case) *int { return &c.Partitions }, 1, 4, 16, 64),
		vary("workers", "workers", func(c *Case) *int { return &c.Workers }, 1, 2, 3),
		vary("backlog", "updates that wait", func(c *Case) *int { return &c.Backlog }, 1_000, 10_000, 100_000),
	}
}

// Growth is a benchmark of how cost grows with recipients, users, partitions,
// workers and backlog.
type Growth struct {
	bench  *Bench
	series []series
}

// NewGrowth returns a benchmark on what config says, as far as nothing grows.
func NewGrowth(config Config, progress Progress) (*Growth, error) {
	config.Raw, config.Latency, config.Programs = false, false, nil
	if err := config.Validate(); err != nil {
		return nil, err
	}
	g := &Growth{series: config.series()}
	var cases []Case
	for _, s := range g.series {
		for _, c := range s.cases {
			if !slices.Contains(cases, c) {
				cases = append(cases, c)
			}
		}
	}
	var err error
	g.bench, err = newBench(config, cases, progress)
	return g, err
}

// Run measures everything and returns how it grew.
func (g *Growth) Run(ctx context.Context) (GrowthReport, error) {
	report, err := g.bench.Run(ctx)
	if err != nil {
		return GrowthReport{}, err
	}
	grown := GrowthReport{Report: report}
	for i := range report.Tables {
		for _, s := range g.series {
			grown.Curves = append(grown.Curves, s.curve(&report.Tables[i]))
		}
	}
	return grown, nil
}

func (s series) curve(t *Table) Curve {
	curve := Curve{Name: s.name, Title: s.title, Storage: string(t.Storage), Replicas: t.Replicas}
	for _, c := range s.cases {
		curve.Points = append(curve.Points, Point{Value: s.value(c), Figures: t.row(c.String(), &c).Median})
	}
	return curve
}

// GrowthReport is what a benchmark of growth gave.
type GrowthReport struct {
	Report
	Curves []Curve `json:"curves"`
}

// Curve is how cost grows with one quantity.
type Curve struct {
	Name     string  `json:"name"`
	Title    string  `json:"title"`
	Storage  string  `json:"storage"`
	Replicas int     `json:"replicas"`
	Points   []Point `json:"points"`
}

// Point is the cost at one value.
type Point struct {
	Value   int     `json:"value"`
	Figures Figures `json:"figures"`
}

// WriteText writes the report for people.
func (r GrowthReport) WriteText(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\nrounds: %d, of which the medians are shown; CPU is in seconds per million pairs of update and recipient\n", r.Machine, r.Rounds)
	for _, c := range r.Curves {
		fmt.Fprintf(&text, "\n%s (%s storage, replicas %d)\n", c.Title, c.Storage, c.Replicas)
		fmt.Fprintf(&text, "  %12s %12s %12s  %5s  %-19s  %8s\n", "", "updates/s", "pairs/s", "of R", "CPU worker + server", "memory")
		for _, p := range c.Points {
			f := p.Figures
			line := fmt.Sprintf("  %12s %12s %12s  %5.2f  %19s  %8s", rate(float64(p.Value)), rate(f.Updates), rate(f.Pairs), f.OfR,
				cpu(f), megabytes(f.Resident))
			fmt.Fprintln(&text, strings.TrimRight(line, " "))
		}
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
