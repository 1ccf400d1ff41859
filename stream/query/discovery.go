package query

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/presence-router/presence-router/stream/wire"
)

// discoveryQuery is what metrics and logs call a request to $SRV.
const discoveryQuery = "discovery"

// discovery describes the service to those who ask $SRV (NATS ADR-32). Package micro
// would answer them as well, but to any subject.
type discovery struct {
	identity  micro.ServiceIdentity
	started   time.Time
	endpoints []*endpoint
	subjects  wire.Subjects
}

func newDiscovery(endpoints []*endpoint, subjects wire.Subjects) *discovery {
	return &discovery{
		identity: micro.ServiceIdentity{
			Name: wire.ServiceName, ID: rand.Text(), Version: wire.ServiceVersion, Metadata: map[string]string{},
		},
		started:   time.Now().UTC(),
		endpoints: endpoints,
		subjects:  subjects,
	}
}

// subscribe has nc ask s whatever is asked of all services, of those of this kind and
// of this one.
func (d *discovery) subscribe(work context.Context, s *queryService) error {
	for verb, describe := range map[micro.Verb]func() any{
		micro.PingVerb: d.ping, micro.InfoVerb: d.info, micro.StatsVerb: d.stats,
	} {
		for _, of := range []struct{ name, id string }{{}, {d.identity.Name, ""}, {d.identity.Name, d.identity.ID}} {
			subject, err := micro.ControlSubject(verb, of.name, of.id)
			if err != nil {
				return err
			}
			if err := s.subscribe(subject, "", func(m *nats.Msg) { s.describe(work, m.Reply, describe) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *discovery) ping() any {
	return micro.Ping{ServiceIdentity: d.identity, Type: micro.PingResponseType}
}

func (d *discovery) info() any {
	info := micro.Info{
		ServiceIdentity: d.identity, Type: micro.InfoResponseType, Description: "answers who receives whose presence",
	}
	for _, e := range d.endpoints {
		info.Endpoints = append(info.Endpoints, micro.EndpointInfo{
			Name: e.name, Subject: d.subjects.Query(e.name), QueueGroup: wire.ServiceName,
		})
	}
	return info
}

func (d *discovery) stats() any {
	stats := micro.Stats{ServiceIdentity: d.identity, Type: micro.StatsResponseType, Started: d.started}
	for _, e := range d.endpoints {
		one := e.tally.stats()
		one.Name, one.Subject, one.QueueGroup = e.name, d.subjects.Query(e.name), wire.ServiceName
		stats.Endpoints = append(stats.Endpoints, one)
	}
	return stats
}

// describe answers a request to $SRV.
func (s *queryService) describe(work context.Context, subject string, describe func() any) {
	to, ok := s.replies.check(subject)
	if !ok {
		s.misdirected.add(work, discoveryQuery, subject)
		return
	}
	data, err := json.Marshal(describe())
	if err != nil {
		s.log.Warn("describing the query service", "error", err)
		return
	}
	s.outgoing.send(to, nil, data)
}

// tally counts the requests of one endpoint for $SRV.STATS.
type tally struct {
	answered, failed, nanoseconds atomic.Int64
	lastCode                      atomic.Int64 // of an error; 0 for none yet
}

func (s *tally) add(took time.Duration, code int) {
	if code == codeAnswered {
		s.answered.Add(1)
	} else {
		s.failed.Add(1)
		s.lastCode.Store(int64(code))
	}
	s.nanoseconds.Add(int64(took))
}

// endpointStats is the "data" of an endpoint in the answer to $SRV.STATS.
type endpointStats struct {
	Answered       int64         `json:"answered"`
	Failed         int64         `json:"failed"`
	ProcessingTime time.Duration `json:"processing_time"` // of all requests, waiting included
}

func (s *tally) stats() *micro.EndpointStats {
	data := endpointStats{Answered: s.answered.Load(), Failed: s.failed.Load(), ProcessingTime: time.Duration(s.nanoseconds.Load())}
	stats := &micro.EndpointStats{
		NumRequests: int(data.Answered + data.Failed), NumErrors: int(data.Failed), ProcessingTime: data.ProcessingTime,
	}
	if stats.NumRequests > 0 {
		stats.AverageProcessingTime = data.ProcessingTime / time.Duration(stats.NumRequests)
	}
	if code := s.lastCode.Load(); code != 0 {
		stats.LastError = strconv.FormatInt(code, 10)
	}
	stats.Data, _ = json.Marshal(data) // Numbers always are JSON.
	return stats
}
