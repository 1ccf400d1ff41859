package bench

import (
	"context"
	"errors"
	"fmt"
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
			if err := b.insist(ctx, s, round, &b.report.Tables[i]); err != nil {
				return Report{}, fmt.Errorf("measure on %s streams with %d replicas: %w", s.storage, s.replicas, err)
			}
		}
	}
	b.progress(b.done, b.done, "")
	return b.report, nil
}

// maxAttempts bounds how often a round is tried whose connection breaks, as it does
// where the machine has no time for the server.
const maxAttempts = 3

// errDisconnected is why a round does not count.
var errDisconnected = errors.New("the connection broke")

func (b *Bench) insist(ctx context.Context, s site, round int, table *Table) error {
	before := b.done
	for attempt := 1; ; attempt++ {
		err := b.onSite(ctx, s, &visit{bench: b, round: round, table: table})
		if attempt == maxAttempts || !errors.Is(err, errDisconnected) || ctx.Err() != nil {
			return err
		}
		b.done = before
	}
}

func (b *Bench) onSite(ctx context.Context, s site, v *visit) (err error) {
	b.tell(v, "starting")
	if v.ground, err = newGround(ctx, b.self, b.config.URL, s); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.ground.close(ctx)) }()
	b.report.Machine.Server = v.ground.nc.ConnectedServerVersion()
	err = v.run(ctx)
	if err != nil && (v.ground.nc.Stats().Reconnects > 0 || !v.ground.nc.IsConnected()) {
		return fmt.Errorf("%w: %w", errDisconnected, err)
	}
	return err
}

// tell tells what is measured next.
func (b *Bench) tell(v *visit, what string) {
	each := 2 + len(b.cases)
	if b.config.Raw {
		each += 2
	}
	if b.config.Latency {
		each += 3
	}
	total := each * b.config.Rounds * len(b.report.Tables)
	b.progress(b.done, total, fmt.Sprintf("round %d of %d, %s, R%d: %s", v.round+1, b.config.Rounds, v.table.Storage, v.table.Replicas, what))
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
