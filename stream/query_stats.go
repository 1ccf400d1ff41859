package stream

import (
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/micro"
)

// tally counts the requests of one endpoint for $SRV.STATS. What micro counts
// itself ends where a request is handed to another goroutine.
type tally struct {
	answered, failed, nanoseconds atomic.Int64
}

func (s *tally) add(took time.Duration, failed bool) {
	if failed {
		s.failed.Add(1)
	} else {
		s.answered.Add(1)
	}
	s.nanoseconds.Add(int64(took))
}

// endpointStats is the "data" of an endpoint in the answer to $SRV.STATS.
type endpointStats struct {
	Answered       int64         `json:"answered"`
	Failed         int64         `json:"failed"`
	ProcessingTime time.Duration `json:"processing_time"` // of all requests, waiting included
}

func statsOf(endpoints []*endpoint) micro.StatsHandler {
	byName := make(map[string]*endpoint, len(endpoints))
	for _, e := range endpoints {
		byName[e.name] = e
	}
	return func(e *micro.Endpoint) any {
		found, ok := byName[e.Name]
		if !ok {
			return nil
		}
		s := &found.tally
		return endpointStats{
			Answered: s.answered.Load(), Failed: s.failed.Load(), ProcessingTime: time.Duration(s.nanoseconds.Load()),
		}
	}
}
