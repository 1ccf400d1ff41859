package stream_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// onNth returns a hook that does what with the nth frame that fits.
func onNth(n int, fits func([]byte) bool, what verdict) func([]byte) ([]byte, verdict) {
	return fromNth(n, 1, fits, what)
}

// fromNth is onNth for several frames in a row.
func fromNth(n, frames int, fits func([]byte) bool, what verdict) func([]byte) ([]byte, verdict) {
	seen := 0
	return func(frame []byte) ([]byte, verdict) {
		if fits(frame) {
			if seen++; n <= seen && seen < n+frames {
				return frame, what
			}
		}
		return frame, pass
	}
}

// inBothWays runs a test as a subtest for each way to commit.
func inBothWays(t *testing.T, test func(t *testing.T, fastIngest bool)) {
	t.Helper()
	for name, fastIngest := range map[string]bool{"atomic": false, "fast ingest": true} {
		t.Run(name, func(t *testing.T) { test(t, fastIngest) })
	}
}

// Whatever becomes of a commit, its deliveries are stored once.
func TestUnknownOutcomeOfCommit(t *testing.T) {
	t.Parallel()
	inBothWays(t, testUnknownOutcomeOfCommit)
}

func testUnknownOutcomeOfCommit(t *testing.T, fastIngest bool) {
	t.Helper()
	tests := []struct {
		name  string
		proxy *proxy
		lost  bool // whether the commit itself did not arrive
		told  bool // whether the worker says that it waits; it may be done before there is reason to
	}{
		{"answer is lost", &proxy{fromServer: onNth(2, isCommitAnswer, swallow)}, false, false},
		{"answers are lost in a row", &proxy{fromServer: fromNth(2, 4, isCommitAnswer, swallow)}, false, false},
		{"connection is cut after the commit", &proxy{fromClient: onNth(2, isCommit, cut)}, false, false},
		{"connection is cut before the answer", &proxy{fromServer: onNth(2, isCommitAnswer, sever)}, false, false},
		{"commit is lost", &proxy{fromClient: onNth(2, isCommit, swallow)}, true, true},
		{"connection is cut before the commit", &proxy{fromClient: onNth(2, isCommit, sever)}, true, true},
		{"message of the batch is lost", &proxy{fromClient: onNth(6, isBatchMessage, swallow)}, true, true},
		{"connection is cut within the batch", &proxy{fromClient: onNth(6, isBatchMessage, cut)}, true, fastIngest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *stream.Config) {
				c.Streams.Deliveries.FastIngest = fastIngest
				if !tt.lost { // Else only what is lost is to be late, however busy the machine is.
					c.Worker.CommitTimeout = 300 * time.Millisecond
				}
			})
			s.url = startProxy(t, s.url, tt.proxy)
			recipients := readers(3)
			w := s.start(t, toEach(t, recipients...))
			last := uint64(0)
			for round := range 5 { // several commits, the troubled one among them
				last = s.publishMany(t, 10*round, 10)
				s.awaitPosition(t, last)
			}
			w.stop(t)
			wantOnce(t, s.deliveries(t), 1, last, recipients...)
			if c, _ := s.checkpoint(t, 0); c.Worker != w.ID() {
				t.Errorf("checkpoint is of worker %q, want %q", c.Worker, w.ID())
			}
			w.log.want(t, 0, "partition is lost")
			w.log.want(t, 0, "claiming the partition anew")
			w.log.want(t, 0, "partitions were shared anew")
			w.log.want(t, 0, purgedLine)
			if tt.told {
				w.log.want(t, 1, "waiting, nothing is lost", "committing deliveries")
			}
		})
	}
}

// The answer to a batch comes together with what a look at the checkpoint found, which
// tells the same: the unit counts once.
func TestAnswerComesWithTheLook(t *testing.T) {
	t.Parallel()
	const rounds, recipients = 5, 3
	s := newSite(t, func(c *stream.Config) { c.Worker.CommitTimeout = 300 * time.Millisecond })
	var late []byte
	answers, found := 0, 0
	s.url = startProxy(t, s.url, &proxy{fromServer: func(frame []byte) ([]byte, verdict) {
		switch {
		case isCommitAnswer(frame) && bytes.Contains(frame, fmt.Appendf(nil, `"count":%d`, recipients+2)):
			if answers++; answers == 2 {
				late = frame
				return frame, swallow
			}
		case late != nil && bytes.Contains(frame, []byte("stream_msg_get_response")) && bytes.Contains(frame, []byte(`"presence.checkpoint.0"`)):
			found++
			frame, late = append(late, frame...), nil
		}
		return frame, pass
	}})
	reader, meter := newMeter()
	all := readers(recipients)
	w := s.start(t, toEach(t, all...), meter)
	last := uint64(0)
	for round := range rounds {
		last = s.publishMany(t, round, 1)
		s.awaitPosition(t, last)
	}
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, all...)
	values := collect(t, reader).values
	if n := values["presence_router_updates{outcome=routed,partition=0}"]; n != rounds || found != 1 {
		t.Errorf("%d updates count as routed, and %d answers came with a look, want %d and 1", n, found, rounds)
	}
}

// While a reader waits until there is room for an update, the connection is made again:
// it reads that update once more.
func TestReconnectWhileAReaderWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.Batch = 1 })
	var consumers atomic.Int64
	p := &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if bytes.HasPrefix(frame, []byte("PUB $JS.API.CONSUMER.CREATE.PRESENCE_UPDATES.")) {
			consumers.Add(1)
		}
		return frame, pass
	}}
	s.url = startProxy(t, s.url, p)
	h := newHeld()
	w := s.start(t, h.router(t))
	last := s.publishMany(t, 0, 6) // One is routed, one is ready, one waits for room.
	await(t, h.asked, "call of the router")
	s.awaitHandedOut(t, last)
	if err := w.nc.FlushTimeout(eventTimeout); err != nil {
		t.Fatal(err)
	}
	before := consumers.Load()
	p.CutAll()
	eventually(t, "another consumer", func() bool { return consumers.Load() > before })
	close(h.release)
	s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
}

// What a reader asks for just when the connection is lost is not answered any more;
// it asks again as soon as the connection is back.
func TestRequestIsLostWithTheConnection(t *testing.T) {
	t.Parallel()
	const requestTimeout = 5 * time.Second
	var armed, lost atomic.Bool
	p := &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if bytes.HasPrefix(frame, []byte("PUB $JS.API.STREAM.INFO.PRESENCE_UPDATES ")) && armed.CompareAndSwap(true, false) {
			lost.Store(true)
			return frame, sever
		}
		return frame, pass
	}}
	s := newSite(t)
	s.url = startProxy(t, s.url, p)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publish(t, bob, 1))
	// A busy machine may be as slow now and then, a reader that waits always is.
	var last uint64
	took := requestTimeout
	for attempt := 0; attempt < 3 && took >= requestTimeout; attempt++ {
		armed.Store(true)
		p.CutAll()
		eventually(t, "loss of a request", func() bool { return lost.Swap(false) })
		began := time.Now()
		last = s.publish(t, bob, 2+attempt)
		s.awaitPosition(t, last)
		took = time.Since(began)
	}
	if took >= requestTimeout {
		t.Errorf("the next update took %v, want less than it takes to give a request up", took)
	}
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
}

// Updates that do not arrive are asked for again.
func TestUpdateLostOnTheWay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		proxy *proxy
	}{
		{"one is missing", &proxy{fromServer: onNth(3, isUpdate, swallow)}},
		{"first is missing", &proxy{fromServer: onNth(1, isUpdate, swallow)}},
		{"connection is cut after one", &proxy{fromServer: onNth(3, isUpdate, cut)}},
		{"connection is cut before one", &proxy{fromServer: onNth(3, isUpdate, sever)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.url = startProxy(t, s.url, tt.proxy)
			w := s.start(t, toEach(t, alice))
			last := s.publishMany(t, 0, 10)
			s.awaitPosition(t, last)
			w.stop(t)
			wantOnce(t, s.deliveries(t), 1, last, alice)
		})
	}
}

// A commit lands between the looks at the checkpoints of its two partitions: neither is
// another worker's.
func TestCommitLandsBetweenTwoLooks(t *testing.T) {
	t.Parallel()
	const partitions = 2
	s := newSite(t, inSharedCommits, func(c *stream.Config) { c.Streams.Partitions = partitions })
	other := otherPartition(t, partitions)
	var late []byte // the commit of both
	commits, looks := 0, 0
	s.url = startProxy(t, s.url, &proxy{
		fromServer: onNth(1, isCommitAnswer, swallow), // Meanwhile both get ready.
		fromClient: func(frame []byte) ([]byte, verdict) {
			switch {
			case isCommit(frame):
				if commits++; commits == 2 {
					late = slices.Clone(frame)
					return frame, swallow
				}
			case late != nil && isLook(frame):
				if looks++; looks == partitions {
					s.publishFrame(t, late)
				}
			}
			return frame, pass
		},
	})
	w := s.start(t, toEach(t, alice))
	s.awaitPositionOf(t, bob, s.publish(t, bob, 1))
	second, third := s.publish(t, bob, 2), s.publish(t, other, 3)
	s.awaitPositionOf(t, bob, second)
	s.awaitPositionOf(t, other, third)
	last := s.publish(t, bob, 4)
	s.awaitPositionOf(t, bob, last)
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
	w.log.want(t, 0, "partition is lost")
	w.log.want(t, 0, "claiming the partition anew")
	if looks < 2*partitions {
		t.Errorf("the worker looked at %d checkpoints, want both of them twice", looks)
	}
}

// A commit of two partitions lands, and one of them is taken over before the worker, which
// missed the answer, looks: it does not take that one for its own.
func TestPartitionIsTakenOverBehindACommit(t *testing.T) {
	t.Parallel()
	const partitions = 2
	s := newSite(t, inSharedCommits, func(c *stream.Config) {
		c.Streams.Partitions = partitions
		c.Worker.TTL = time.Minute // for as long the worker leaves alone what it has lost
	})
	other := otherPartition(t, partitions)
	taken := wire.Partition(presence.MustUserID(other), partitions)
	answers := 0
	s.url = startProxy(t, s.url, &proxy{fromServer: func(frame []byte) ([]byte, verdict) {
		if !isCommitAnswer(frame) {
			return frame, pass
		}
		answers++
		switch answers {
		case 1: // Meanwhile both get ready.
			return frame, swallow
		case 2:
			s.takeOver(t, taken)
			return frame, swallow
		default:
			return frame, pass
		}
	}})
	w := s.start(t, toEach(t, alice))
	s.awaitPositionOf(t, bob, s.publish(t, bob, 1))
	second, third := s.publish(t, bob, 2), s.publish(t, other, 3)
	s.awaitPositionOf(t, bob, second)
	s.awaitPositionOf(t, other, third)
	s.publish(t, other, 4)
	s.awaitPositionOf(t, bob, s.publish(t, bob, 5))
	w.stop(t)
	if c, _ := s.checkpoint(t, taken); c.Worker != "thief" || c.Sequence != third {
		t.Errorf("checkpoint of the partition that is taken over is %+v, want it left alone", c)
	}
	w.log.want(t, 1, "partition is lost", "thief")
}

// publishFrame has the server store what a client sent with headers.
func (s *site) publishFrame(t *testing.T, frame []byte) {
	t.Helper()
	line, payload, _ := bytes.Cut(frame, []byte("\r\n"))
	var m nats.Msg
	var headers, size int
	if _, err := fmt.Sscanf(string(line), "HPUB %s %s %d %d", &m.Subject, &m.Reply, &headers, &size); err != nil {
		t.Errorf("parse %q: %v", line, err)
		return
	}
	var err error
	if m.Header, err = nats.DecodeHeadersMsg(payload[:headers]); err != nil {
		t.Errorf("decode headers of %q: %v", line, err)
		return
	}
	m.Reply, m.Data = "", payload[headers:size]
	if _, err := s.nc.RequestMsgWithContext(t.Context(), &m); err != nil {
		t.Errorf("publish to %s: %v", m.Subject, err)
	}
}

// The server refuses no commit while nothing happens: a worker knows where its
// checkpoints are.
func TestNoCommitIsRefused(t *testing.T) {
	t.Parallel()
	inBothWays(t, func(t *testing.T, fastIngest bool) {
		t.Helper()
		t.Parallel()
		s := newSite(t, shared, func(c *stream.Config) { c.Streams.Deliveries.FastIngest = fastIngest })
		var refused atomic.Int64
		s.url = startProxy(t, s.url, &proxy{fromServer: func(frame []byte) ([]byte, verdict) {
			if bytes.HasPrefix(frame, []byte("MSG ")) && bytes.Contains(frame, []byte(`"err_code":10071`)) {
				refused.Add(1)
			}
			return frame, pass
		}})
		w := s.start(t, toEach(t, readers(3)...))
		for round := range 5 {
			s.awaitAll(t, s.publishToAll(t, round, 1))
		}
		w.stop(t)
		if n := refused.Load(); n > 0 {
			t.Errorf("the server refused %d commits for a checkpoint that was not expected, want 0", n)
		}
	})
}
