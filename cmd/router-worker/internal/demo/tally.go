package demo

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/routing/presence"
)

// tally is what the streams hold, counted by the server.
type tally struct {
	last       map[int]uint64 // sequence of the newest update by partition
	updates    uint64
	deliveries uint64
	dead       uint64
	isWhole    bool // deliveries and dead are counted
}

// count asks the server what there is: first which update of each partition is the
// newest, then, when all are committed, how many deliveries there are.
func (s *show) count(ctx context.Context) error {
	if s.tally == nil {
		t, err := s.countUpdates(ctx)
		if err != nil {
			return err
		}
		s.tally = t
	}
	if s.uncommitted() > 0 || s.tally.isWhole {
		return nil
	}
	var err error
	if s.tally.deliveries, err = s.stored(ctx, s.subjects.Deliveries()); err != nil {
		return err
	}
	s.tally.dead, err = s.stored(ctx, s.subjects.DeadAll())
	s.tally.isWhole = err == nil
	return err
}

func (s *show) countUpdates(ctx context.Context) (*tally, error) {
	updates, err := s.js.Stream(ctx, s.subjects.UpdatesStream())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", s.subjects.UpdatesStream(), err)
	}
	t := &tally{last: make(map[int]uint64), updates: updates.CachedInfo().State.Msgs}
	for partition := range s.config.Streams.Partitions {
		newest, err := updates.GetLastMsgForSubject(ctx, s.subjects.PartitionUpdates(partition))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the newest update of partition %d: %w", partition, err)
		}
		t.last[partition] = newest.Sequence
	}
	return t, nil
}

// stored counts the messages of the deliveries stream whose subject matches filter.
func (s *show) stored(ctx context.Context, filter string) (uint64, error) {
	name := s.subjects.DeliveriesStream()
	deliveries, err := s.js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info, err := deliveries.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	total := uint64(0)
	for _, messages := range info.State.Subjects {
		total += messages
	}
	return total, nil
}

// uncommitted counts the partitions whose newest update is not committed.
func (s *show) uncommitted() int {
	count := 0
	for partition, last := range s.tally.last {
		if s.committed[partition] < last {
			count++
		}
	}
	return count
}

// missing says what the show still waits for, "" for nothing.
func (s *show) missing() string {
	switch {
	case s.tally == nil:
		return plural.Of(s.published, "update is published, not all of the capture", "updates are published, not all of the capture")
	case s.tally.updates < uint64(s.published): //nolint:gosec // A count is not negative.
		return fmt.Sprintf("stream %s holds %d of %s", s.subjects.UpdatesStream(), s.tally.updates, plural.Of(s.published, "update", "updates"))
	case s.uncommitted() > 0:
		return fmt.Sprintf("%d of %s not committed to the end", s.uncommitted(), plural.Of(len(s.tally.last), "partition is", "partitions are"))
	case uint64(s.deliveries) < s.tally.deliveries: //nolint:gosec // A count is not negative.
		return fmt.Sprintf("%d of %s come", s.deliveries, plural.Of(s.tally.deliveries, "delivery has", "deliveries have"))
	default:
		return ""
	}
}

func (s *show) summarize() {
	took := s.finished.Sub(s.began).Seconds()
	s.say(`
updates in      %d
deliveries out  %d, with %s for %s
dead letters    %d
time            %.2f s, %.0f updates/s`, s.tally.updates, s.tally.deliveries,
		plural.Of(s.states, "state", "states"), plural.Of(len(s.recipients), "recipient", "recipients"), s.tally.dead, took, float64(s.tally.updates)/took)
}

// invite says how to join in.
func (s *show) invite() {
	url := terminal.Escape(s.config.NATS.URL.Reveal())
	bob := presence.MustUserID("@bob:example.com")
	s.say(`
Serving on %[1]s until Ctrl-C. Join in from another terminal:
  nats --server %[1]s pub %[2]s '{"user_id":"%[3]s","state":"online"}'
  nats --server %[1]s sub --stream %[4]s --new '%[5]s'
  router-worker deliveries --nats %[1]s`, url, s.subjects.Update(bob), bob, s.subjects.DeliveriesStream(), s.subjects.Deliveries())
}
