package stream_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// A commit of two partitions is on its way when the one is taken over whose checkpoint
// does not come last: nothing of that partition is stored.
func TestEveryCheckpointOfACommitIsFenced(t *testing.T) {
	t.Parallel()
	const partitions = 2
	s := newSite(t, inSharedCommits, func(c *stream.Config) {
		c.Streams.Partitions = partitions
		c.Worker.CommitTimeout = 500 * time.Millisecond
		c.Worker.TTL = time.Minute // for as long the worker leaves alone what it has lost
	})
	taken := make(chan int, 1)
	s.url = startProxy(t, s.url, &proxy{
		fromServer: onNth(1, isCommitAnswer, swallow), // Meanwhile both get ready.
		fromClient: func(frame []byte) ([]byte, verdict) {
			for p := range partitions {
				if isBatchMessage(frame) && bytes.HasPrefix(frame, []byte("HPUB "+s.subjects.Checkpoint(p)+" ")) && len(taken) == 0 {
					s.takeOver(t, p)
					taken <- p
				}
			}
			return frame, pass
		},
	})
	w := s.start(t, toEach(t, alice))
	published := make(map[int][]uint64) // sequences, by partition
	eventually(t, "commit of both partitions", func() bool {
		for _, user := range []string{bob, otherPartition(t, partitions)} {
			p := wire.Partition(presence.MustUserID(user), partitions)
			published[p] = append(published[p], s.publish(t, user, len(published[p])+1))
		}
		return len(taken) > 0
	})
	lost := <-taken
	kept := partitions - 1 - lost
	last := published[kept][len(published[kept])-1]
	s.awaitCheckpoint(t, kept, func(c wire.Checkpoint) bool { return c.Sequence == last })
	w.stop(t)
	c, _ := s.checkpoint(t, lost)
	if c.Worker != "thief" {
		t.Errorf("checkpoint of the partition that is taken over is %+v, want it left alone", c)
	}
	want := slices.DeleteFunc(published[lost], func(sequence uint64) bool { return sequence > c.Sequence })
	want = slices.Sorted(slices.Values(append(want, published[kept]...)))
	if got := slices.Sorted(slices.Values(sequences(s.deliveries(t))[alice])); !slices.Equal(got, want) {
		t.Errorf("%s received %v, want %v", alice, got, want)
	}
	w.log.want(t, 1, "partition is lost", fmt.Sprintf("partition=%d ", lost), "thief")
}

// A worker without deliveries does not write the checkpoint of a partition that is taken
// over.
func TestCheckpointAloneIsFenced(t *testing.T) {
	t.Parallel()
	inBothWays(t, func(t *testing.T, fastIngest bool) {
		t.Helper()
		t.Parallel()
		s := newSite(t, func(c *stream.Config) {
			c.Streams.Deliveries.FastIngest = fastIngest
			c.Worker.TTL = time.Minute // for as long the worker leaves alone what it has lost
		})
		commits := 0
		s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
			if isCommit(frame) {
				if commits++; commits == 1 {
					s.takeOver(t, 0)
				}
			}
			return frame, pass
		}})
		s.publish(t, bob, 1)
		w := s.newWorker(t, []routing.Registration{registration(routerOf(t, toNobody))})
		w.run(t)
		eventually(t, "commit, refused or not", func() bool {
			c, _ := s.checkpoint(t, 0)
			return c.Sequence == 1 || len(w.log.with("partition is lost")) > 0
		})
		w.stop(t)
		if c, _ := s.checkpoint(t, 0); c.Worker != "thief" {
			t.Errorf("checkpoint is %+v, want it left alone", c)
		}
		w.log.want(t, 1, "partition is lost", "thief")
	})
}
