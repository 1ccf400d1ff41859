package sender

import (
	"container/heap"
	"time"
)

// schedule orders lanes by when they are due.
type schedule []*lane

// push adds a lane that is not in s.
func (s *schedule) push(l *lane) { heap.Push((*byDue)(s), l) }

// pop takes out the first lane where that is due, else it returns nil and how long
// to wait; a negative duration is for ever.
func (s *schedule) pop(now time.Time) (*lane, time.Duration) {
	if len(*s) == 0 {
		return nil, -1
	}
	if wait := (*s)[0].due.Sub(now); wait > 0 {
		return nil, wait
	}
	l, _ := heap.Pop((*byDue)(s)).(*lane)
	return l, 0
}

// remove takes a lane out.
func (s *schedule) remove(l *lane) { heap.Remove((*byDue)(s), l.place) }

// byDue implements heap.Interface.
type byDue []*lane

func (b byDue) Len() int           { return len(b) }
func (b byDue) Less(i, j int) bool { return b[i].due.Before(b[j].due) }

func (b byDue) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].place, b[j].place = i, j
}

// Push implements heap.Interface.
func (b *byDue) Push(x any) {
	l, _ := x.(*lane)
	l.place = len(*b)
	*b = append(*b, l)
}

// Pop implements heap.Interface.
func (b *byDue) Pop() any {
	last := len(*b) - 1
	l := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	l.place = -1
	return l
}
