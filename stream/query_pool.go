package stream

import (
	"errors"
	"sync"
)

var (
	errStopping = errors.New("this replica is stopping: ask again")
	errBusy     = errors.New("too many queries are waiting, see worker.queries.waiting: ask again")
)

// pool is a fixed number of goroutines that do jobs, and a bounded number of them
// that wait for them.
type pool struct {
	mu     sync.RWMutex
	closed bool
	jobs   chan func()
	all    sync.WaitGroup
}

func newPool(size, waiting int) *pool {
	p := &pool{jobs: make(chan func(), waiting)}
	for range size {
		p.all.Go(p.work)
	}
	return p
}

func (p *pool) work() {
	for do := range p.jobs {
		do()
	}
}

// submit has a job done, unless it returns errStopping or errBusy. It never waits.
func (p *pool) submit(do func()) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return errStopping
	}
	select {
	case p.jobs <- do:
		return nil
	default:
		return errBusy
	}
}

// close takes no more jobs and waits until those it took are done.
func (p *pool) close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.jobs)
	}
	p.mu.Unlock()
	p.all.Wait()
}
