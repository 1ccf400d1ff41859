package query

import (
	"errors"
	"sync"
	"sync/atomic"
)

var (
	errStopping = errors.New("this replica is stopping: ask again")
	errBusy     = errors.New("too many queries are waiting, see worker.queries.waiting: ask again")
	errHeavy    = errors.New("queries of too many bytes are here, see worker.queries.max_bytes: ask again")
)

// pool is a fixed number of goroutines that do jobs, and a bounded number of them
// that wait for them.
type pool struct {
	maxBytes int64 // of the requests of all jobs

	mu     sync.RWMutex
	closed bool
	jobs   chan func()
	bytes  atomic.Int64 // of requests that are not released
	all    sync.WaitGroup
}

func newPool(size, waiting, maxBytes int) *pool {
	p := &pool{maxBytes: int64(maxBytes), jobs: make(chan func(), waiting)}
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

// submit has a job done that holds a request of size bytes until it releases it,
// unless submit returns errStopping, errBusy or errHeavy. It never waits. A request
// that is larger than all may be together is taken when it is the only one.
func (p *pool) submit(size int, do func()) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return errStopping
	}
	if held := p.bytes.Add(int64(size)); held > p.maxBytes && held > int64(size) {
		p.release(size)
		return errHeavy
	}
	select {
	case p.jobs <- do:
		return nil
	default:
		p.release(size)
		return errBusy
	}
}

// release forgets a request of size bytes.
func (p *pool) release(size int) { p.bytes.Add(-int64(size)) }

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
