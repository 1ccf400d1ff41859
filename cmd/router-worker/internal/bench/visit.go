package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// leastSteady is how many updates a measurement of latency has at least.
const leastSteady = 10

// visit is one round of measurements on one site.
type visit struct {
	bench    *Bench
	round    int
	table    *Table
	ground   *ground
	r        Figures // of publishing for R, first and last
	measured []Row   // the rest, one round each
}

// run measures everything once: R first and last, so that what else the machine does
// is in it as it is in the rest.
func (v *visit) run(ctx context.Context) error {
	if err := v.publish(ctx); err != nil {
		return err
	}
	if v.bench.config.Raw {
		if err := v.raw(ctx); err != nil {
			return err
		}
	}
	for i := range v.bench.cases {
		c := v.bench.cases[(i+v.round)%len(v.bench.cases)] // nobody is always first
		if err := v.drain(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	if v.bench.config.Latency {
		if err := v.measureLatencies(ctx); err != nil {
			return err
		}
	}
	if err := v.publish(ctx); err != nil {
		return err
	}
	v.settle()
	return nil
}

// settle enters what was measured into the table, in proportion to R.
func (v *visit) settle() {
	v.table.add(rawName, nil, v.r)
	for _, row := range v.measured {
		f := row.Median
		switch {
		case row.Case == nil:
			f.OfR = f.Messages / v.r.Messages
		case row.Case.FanIn:
			f.OfR = f.Pairs / v.r.Messages
		default:
			f.OfR = f.Deliveries / v.r.Messages
		}
		v.table.add(row.Name, row.Case, f)
	}
}

func (v *visit) note(row Row) {
	v.bench.done++
	v.measured = append(v.measured, row)
}

// publish measures R. The second time gives the mean of both.
func (v *visit) publish(ctx context.Context) error {
	v.bench.tell(v, rawName)
	if err := v.ground.renew(ctx, v.bench.config.Partitions); err != nil {
		return err
	}
	f, err := v.ground.publishRaw(ctx, v.load(v.anyCase()), v.bench.config.Duration)
	if err != nil {
		return fmt.Errorf("%s: %w", rawName, err)
	}
	v.bench.done++
	if v.r.Messages > 0 {
		f = mean(v.r, f)
	}
	v.r = f
	v.r.OfR = 1
	return nil
}

// raw measures what else the server does for anybody, with what publish has left.
func (v *visit) raw(ctx context.Context) error {
	v.bench.tell(v, consumeName)
	f, err := v.ground.consumeRaw(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", consumeName, err)
	}
	v.note(Row{Name: consumeName, Median: f})
	v.bench.tell(v, fastName)
	f, err = v.ground.publishFast(ctx, v.load(v.anyCase()), v.bench.config.Duration)
	if errors.Is(err, errNoFastIngest) {
		v.bench.done++
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", fastName, err)
	}
	v.note(Row{Name: fastName, Median: f})
	return nil
}

// anyCase returns the case of one worker and one recipient for each update.
func (v *visit) anyCase() Case {
	c := v.bench.config
	return Case{Program: ownName, Workers: 1, Users: c.Users, Partitions: c.Partitions}.drawing(1)
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
	v.note(Row{Name: c.String(), Case: &c, Median: f})
	return nil
}

// backlog returns how many updates take about as long as a measurement is to be.
func (v *visit) backlog(c Case) int {
	const least, most = 200, 5_000_000
	if c.Backlog > 0 {
		return c.Backlog
	}
	return max(least, min(most, int(v.rate(c)*v.bench.config.Duration.Seconds()*(1+float64(c.Workers-1)/2))))
}

// rate returns how many updates per second c does, as far as is known: no more than
// the server takes messages.
func (v *visit) rate(c Case) float64 { return min(v.r.Messages, v.expected(c)) }

func (v *visit) expected(c Case) float64 {
	if row := v.table.row(c.String(), &c); row != nil {
		return row.Median.Updates
	}
	for _, row := range v.measured {
		if row.Case != nil && *row.Case == c {
			return row.Median.Updates
		}
	}
	if c.Program != ownName {
		return c.guess(v.r.Messages) / 4
	}
	return c.guess(v.r.Messages)
}

// measureLatencies measures how much comes through from a publisher to a reader, both at work
// at the same time, with one worker and one recipient each, and then latency at a
// thousand updates per second and at half of that.
func (v *visit) measureLatencies(ctx context.Context) error {
	c := v.anyCase()
	through, err := v.steady(ctx, c, throughName, math.Inf(1), v.backlog(c))
	if err != nil {
		return err
	}
	v.note(Row{Name: throughName, Case: &c, Median: Figures{Updates: through.Updates, Deliveries: through.Updates, Pairs: through.Updates}})
	for _, at := range []struct {
		name string
		rate float64
	}{{"latency at " + strconv.Itoa(steadyRate) + "/s", steadyRate}, {"latency at half of " + throughName, through.Updates / 2}} {
		f, err := v.steady(ctx, c, at.name, at.rate, max(leastSteady, int(at.rate*2*v.bench.config.Duration.Seconds())))
		if err != nil {
			return err
		}
		f.Rate = at.rate
		v.note(Row{Name: at.name, Case: &c, Median: f})
	}
	return nil
}

func (v *visit) steady(ctx context.Context, c Case, name string, rate float64, updates int) (Figures, error) {
	v.bench.tell(v, name)
	f, err := (&steady{ground: v.ground, load: v.load(c), rate: rate, total: updates}).measure(ctx)
	if err != nil {
		return Figures{}, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}
