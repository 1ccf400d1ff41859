package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// steadyRate is the rate, in updates per second, at which latency is measured
// beside half of what is possible.
const steadyRate = 1000

// Progress is told what is measured next, and how many measurements are done.
type Progress func(done, total int, what string)

// Bench is one benchmark.
type Bench struct {
	config   Config
	cases    []Case
	self     string
	progress Progress
	report   Report
	done     int
}

// New returns a benchmark of what config says, on processes of this program.
func New(config Config, progress Progress) (*Bench, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return newBench(config, config.cases(), progress)
}

func newBench(config Config, cases []Case, progress Progress) (*Bench, error) {
	path, err := self()
	if err != nil {
		return nil, err
	}
	b := &Bench{config: config, cases: cases, self: path, progress: progress}
	b.report = Report{Machine: newMachine(), Rounds: config.Rounds}
	b.report.Machine.Embedded = config.URL == ""
	for _, s := range config.sites() {
		b.report.Tables = append(b.report.Tables, Table{Storage: s.storage, Replicas: s.replicas})
	}
	return b, nil
}

// Run measures everything, round by round, each on servers of its own, and returns
// the report.
func (b *Bench) Run(ctx context.Context) (Report, error) {
	for round := range b.config.Rounds {
		for i, s := range b.config.sites() {
			if err := b.onSite(ctx, s, &visit{bench: b, round: round, table: &b.report.Tables[i]}); err != nil {
				return Report{}, fmt.Errorf("measure on %s streams with %d replicas: %w", s.storage, s.replicas, err)
			}
		}
	}
	b.progress(b.done, b.done, "")
	return b.report, nil
}

func (b *Bench) onSite(ctx context.Context, s site, v *visit) (err error) {
	b.tell(v, "starting")
	if v.ground, err = newGround(ctx, b.self, b.config.URL, s); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.ground.close(ctx)) }()
	b.report.Machine.Server = v.ground.nc.ConnectedServerVersion()
	if err := v.raw(ctx); err != nil {
		return err
	}
	for _, c := range b.cases {
		if err := v.drain(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	if b.config.Latency {
		return v.latencies(ctx)
	}
	return nil
}

// tell tells what is measured next.
func (b *Bench) tell(v *visit, what string) {
	each := 1 + len(b.cases)
	if b.config.Raw {
		each += 2
	}
	if b.config.Latency {
		each += 2
	}
	total := each * b.config.Rounds * len(b.report.Tables)
	b.progress(b.done, total, fmt.Sprintf("round %d of %d, %s, R%d: %s", v.round+1, b.config.Rounds, v.table.Storage, v.table.Replicas, what))
}

// visit is one round of measurements on one site.
type visit struct {
	bench  *Bench
	round  int
	table  *Table
	ground *ground
	r      float64 // messages per second
}

// note adds what one measurement gave to a row.
func (v *visit) note(name string, c *Case, f Figures) *Row {
	v.bench.done++
	return v.table.add(name, c, f)
}

// raw measures what the server does for anybody.
func (v *visit) raw(ctx context.Context) error {
	l := newLoad(Case{Users: v.bench.config.Users}, v.ground.subjects, uint64(v.round)) //nolint:gosec // A count is not negative.
	measurements := []struct {
		name    string
		measure func() (Figures, error)
	}{
		{rawName, func() (Figures, error) { return v.ground.publishRaw(ctx, l, v.bench.config.Duration) }},
		{consumeName, func() (Figures, error) { return v.ground.consumeRaw(ctx) }},
		{fastName, func() (Figures, error) { return v.ground.publishFast(ctx, l, v.bench.config.Duration) }},
	}
	if !v.bench.config.Raw {
		measurements = measurements[:1]
	}
	if err := v.ground.renew(ctx, v.bench.config.Partitions); err != nil {
		return err
	}
	for _, m := range measurements {
		v.bench.tell(v, m.name)
		f, err := m.measure()
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if m.name == rawName {
			v.r = f.Messages
		}
		f.OfR = f.Messages / v.r
		v.note(m.name, nil, f)
	}
	return nil
}

func (v *visit) load(c Case) *load {
	return newLoad(c, v.ground.subjects, uint64(v.round)) //nolint:gosec // A count is not negative.
}

func (v *visit) drain(ctx context.Context, c Case) error {
	v.bench.tell(v, c.String())
	f, err := drain{ground: v.ground, load: v.load(c), program: v.bench.path(c.Program), updates: v.backlog(c)}.measure(ctx)
	if err != nil {
		return err
	}
	f.OfR = f.Deliveries / v.r
	if c.FanIn {
		f.OfR = f.Pairs / v.r
	}
	v.note(c.String(), &c, f)
	return nil
}

// backlog returns how many updates take about as long as a measurement is to be.
func (v *visit) backlog(c Case) int {
	const least, most = 200, 5_000_000
	if c.Backlog > 0 {
		return c.Backlog
	}
	rate := c.guess(v.r)
	if row := v.table.row(c.String(), &c); row != nil {
		rate = row.Median.Updates
	} else if c.Program != ownName {
		rate /= 4
	}
	return max(least, min(most, int(rate*v.bench.config.Duration.Seconds()*(1+float64(c.Workers-1)/2))))
}

// path returns the path of another program, "" for router-worker.
func (b *Bench) path(program string) string {
	for _, p := range b.config.Programs {
		if p.Name == program {
			return p.Path
		}
	}
	return ""
}

// latencies measures latency at a thousand updates per second and at half of the
// most that one worker does, with one recipient each.
func (v *visit) latencies(ctx context.Context) error {
	c := Case{Program: ownName, Workers: 1, Recipients: 1, Users: v.bench.config.Users, Partitions: v.bench.config.Partitions}
	half := v.r / 6
	if row := v.table.row(c.String(), &c); row != nil {
		half = row.Median.Updates / 2
	}
	for _, at := range []struct {
		name string
		rate float64
	}{{"latency at " + strconv.Itoa(steadyRate) + "/s", steadyRate}, {"latency at half of k = 1", half}} {
		v.bench.tell(v, at.name)
		f, err := (&steady{ground: v.ground, load: v.load(c), rate: at.rate, duration: 2 * v.bench.config.Duration}).measure(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", at.name, err)
		}
		v.note(at.name, &c, f).Rate = at.rate
	}
	return nil
}
