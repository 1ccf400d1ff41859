package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// drainTimeout bounds one measurement.
const drainTimeout = 5 * time.Minute

// mark is what was done at one moment, and what that had cost.
type mark struct {
	at     time.Time
	done   int
	worker usage
	server usage
}

// drain is one measurement of a case: how fast workers route a backlog.
type drain struct {
	ground  *ground
	load    *load
	program string // path, "" for router-worker
	updates int
}

// measure stores the backlog, starts the workers and returns how fast they were,
// from a tenth of the backlog on.
func (d drain) measure(ctx context.Context) (f Figures, err error) {
	if err := d.ground.renew(ctx, d.load.workload.Partitions); err != nil {
		return Figures{}, err
	}
	waiting, err := d.ground.publishBacklog(ctx, d.load, d.updates)
	if err != nil {
		return Figures{}, err
	}
	gauge, err := d.gauge(ctx, waiting)
	if err != nil {
		return Figures{}, err
	}
	defer gauge.stop()
	before, err := d.mark(news{at: time.Now()}, &crew{})
	if err != nil {
		return Figures{}, err
	}
	workers, err := d.ground.hire(d.program, d.load)
	defer func() { err = errors.Join(err, workers.dismiss()) }()
	if err != nil {
		return Figures{}, err
	}
	from, to, err := d.watch(ctx, gauge, workers, before)
	if err != nil {
		return Figures{}, err
	}
	return d.figures(ctx, from, to)
}

func (d drain) gauge(ctx context.Context, waiting *backlog) (gauge, error) {
	if d.program != "" {
		return d.ground.count(d.load.workload.Recipients), nil
	}
	return d.ground.checkpoints(ctx, waiting)
}

// watch returns where the clock starts and where everything is done. It starts when
// a tenth is done and, where that comes soon enough, all workers take part; before
// the workers do, where all is done at once.
func (d drain) watch(ctx context.Context, gauge gauge, workers *crew, before mark) (from, to mark, err error) {
	ctx, end := context.WithTimeoutCause(ctx, drainTimeout, fmt.Errorf("%d updates took more than %v", d.updates, drainTimeout))
	defer end()
	ctx, release := workers.whileAtWork(ctx)
	defer release()
	early, late := int(warmUp*float64(d.updates)), d.updates/2
	from = before
	warm, complete := false, false
	for {
		n, err := gauge.next(ctx)
		if err != nil {
			return from, to, err
		}
		if n.done >= d.updates {
			to, err = d.mark(n, workers)
			return from, to, err
		}
		all := n.workers >= d.load.workload.Workers || d.program != ""
		if n.done < early || warm && (complete || !all || n.done >= late) {
			continue
		}
		warm, complete = true, all
		if from, err = d.mark(n, workers); err != nil {
			return from, to, err
		}
	}
}

func (d drain) mark(n news, workers *crew) (mark, error) {
	m := mark{at: n.at, done: n.done}
	var err error
	if m.worker, err = usageOfAll(workers.children); err != nil {
		return mark{}, err
	}
	m.server, err = usageOfAll(d.ground.servers)
	return m, err
}

func (d drain) figures(ctx context.Context, from, to mark) (Figures, error) {
	stored, err := d.ground.stored(ctx)
	if err != nil {
		return Figures{}, err
	}
	updates := float64(to.done - from.done)
	rate := updates / max(to.at.Sub(from.at), time.Millisecond).Seconds()
	pairs := float64(d.load.workload.Recipients)
	million := updates * pairs / 1e6
	return Figures{
		Updates: rate, Pairs: rate * pairs,
		Deliveries: rate * max(0, float64(stored)-d.checkpoints()) / float64(d.updates),
		WorkerCPU:  to.worker.since(from.worker) / million,
		ServerCPU:  to.server.since(from.server) / million,
		Resident:   float64(to.worker.resident), Peak: float64(to.worker.peak),
	}, nil
}

// checkpoints returns how many of the messages in the deliveries stream are no
// deliveries.
func (d drain) checkpoints() float64 {
	if d.program != "" {
		return 0
	}
	return float64(d.load.workload.Partitions)
}
