package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// Each update has recipients of its own: together they are more than one atomic
// batch takes, so that commits end between updates.
func TestBatchWithMoreRecipientsThanACommitTakes(t *testing.T) {
	t.Parallel()
	const updates, recipients = 16, 150
	s := newSite(t)
	last := s.publishMany(t, 0, updates)
	w := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		a := make(answer)
		for _, state := range batch {
			for i := range recipients {
				id := presence.MustUserID(fmt.Sprintf("@r%d-%d:example.com", marks(states{state})[0], i))
				a[id] = append(a[id], state)
			}
		}
		return a, nil
	}))
	s.awaitPosition(t, last)
	w.stop(t)
	deliveries := s.deliveries(t)
	if len(deliveries) != updates*recipients {
		t.Errorf("%d deliveries, want %d", len(deliveries), updates*recipients)
	}
	for _, d := range deliveries {
		if len(d.Sequences) != 1 || !strings.HasPrefix(d.Recipient.String(), fmt.Sprintf("@r%d-", d.Sequences[0])) {
			t.Errorf("%s received %v", d.Recipient, d.Sequences)
		}
	}
}

// Many updates to many recipients: every recipient gets every update, in order,
// across the cuts.
func TestRecipientsOfCutBatchesGetAllInOrder(t *testing.T) {
	t.Parallel()
	const updates, recipients = 40, 600
	s := newSite(t)
	last := s.publishMany(t, 0, updates)
	// Half the recipients get odd updates, half get even ones, so that a cut between
	// updates makes both parts smaller.
	w := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		a := make(answer)
		for _, state := range batch {
			mark := int(marks(states{state})[0])
			for i := mark % 2; i < 2*recipients; i += 2 {
				id := presence.MustUserID(fmt.Sprintf("@r%05d:example.com", i))
				a[id] = append(a[id], state)
			}
		}
		return a, nil
	}))
	s.awaitPosition(t, last)
	w.stop(t)
	received := sequences(s.deliveries(t))
	if len(received) != 2*recipients {
		t.Errorf("%d recipients, want %d", len(received), 2*recipients)
	}
	for i := range 2 * recipients {
		var want []uint64
		for sequence := uint64(1); sequence <= updates; sequence++ {
			if sequence%2 == uint64(i%2) {
				want = append(want, sequence)
			}
		}
		id := fmt.Sprintf("@r%05d:example.com", i)
		if !slices.Equal(received[id], want) {
			t.Errorf("%s received %v, want %v", id, received[id], want)
		}
	}
}

// A dead letter of an update that is committed in slices is one.
func TestDeadLetterOfUpdateInSlices(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	all := readers(2500)
	w := s.startWith(t, []routing.Registration{
		registration(toEach(t, all...)),
		{Name: "picky", Timeout: eventTimeout, OnError: routing.DeadLetter, Router: routerOf(t, func(context.Context, states) (answer, error) {
			return nil, errors.New("spilled")
		})},
	})
	s.awaitPosition(t, s.publish(t, bob, 1))
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, 1, all...)
	s.awaitLetters(t, 1)
}

// A router makes more up for one recipient than the server takes at once: that one
// gets nothing, the others do.
func TestTooMuchForOneRecipientIsDeadLetter(t *testing.T) {
	t.Parallel()
	const tooMany = 1100
	s := newSite(t, func(c *stream.Config) { c.Streams.Deliveries.MaxDeliveryBytes = 1 << 10 })
	w := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		var madeUp states
		for _, user := range readers(tooMany) {
			madeUp = append(madeUp, presence.UserState{
				UserID: presence.MustUserID(user), State: presence.Online, StatusMsg: presence.Status(strings.Repeat("x", 700)),
			})
		}
		return answer{presence.MustUserID(alice): batch, presence.MustUserID(bob): madeUp, presence.MustUserID("@dave:example.com"): batch}, nil
	}))
	s.awaitPosition(t, s.publish(t, bob, 1))
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, 1, alice, "@dave:example.com")
	letter := s.awaitLetters(t, 1)[0].Letter
	if want := "1100 messages for @bob:example.com: at most 999 are allowed"; letter.Error != want || letter.Router != "static" {
		t.Errorf("letter of router %q says %q, want %q", letter.Router, letter.Error, want)
	}
}

// watchCheckpoints returns the checkpoints that are committed from now on.
func (s *site) watchCheckpoints(t *testing.T) <-chan *nats.Msg {
	t.Helper()
	arrived := make(chan *nats.Msg, 1000)
	if _, err := s.nc.ChanSubscribe(s.subjects.Checkpoints(), arrived); err != nil {
		t.Fatal(err)
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return arrived
}

func nextCheckpoint(t *testing.T, arrived <-chan *nats.Msg) wire.Checkpoint {
	t.Helper()
	c, err := wire.DecodeCheckpoint(await(t, arrived, "checkpoint").Data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUpdateWithMoreRecipientsThanACommitTakes(t *testing.T) {
	t.Parallel()
	const recipients = 5000
	s := newSite(t)
	all := readers(recipients)
	w := s.start(t, toEach(t, all...))
	watch := s.watchCheckpoints(t)
	last := s.publishMany(t, 0, 2)
	s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, all...)

	halfway := 0
	for previous := (wire.Checkpoint{}); ; {
		c := nextCheckpoint(t, watch)
		if c.Sequence == last && c.After.IsZero() {
			break
		}
		if c.Sequence == previous.Sequence && c.After == previous.After {
			continue // The commit was tried again, or the position renewed.
		}
		if !c.After.IsZero() {
			halfway++
			if previous.Sequence == c.Sequence && !previous.After.IsZero() && c.After.Compare(previous.After) < 0 {
				t.Errorf("checkpoint after %s follows the one after %s", c.After, previous.After)
			}
		}
		previous = c
	}
	if halfway < 2*(recipients/999) {
		t.Errorf("%d checkpoints say after whom to go on, want %d", halfway, 2*(recipients/999))
	}
}

// stopBetweenSlices runs a worker that is stopped when it has committed a part of
// the recipients of one update, and returns the checkpoint it leaves.
func (s *site) stopBetweenSlices(t *testing.T, recipients []string) wire.Checkpoint {
	t.Helper()
	var severed atomic.Bool
	half := false
	direct := s.url
	s.url = startProxy(t, direct, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if isCommit(frame) && half {
			severed.Store(true)
			return frame, sever
		}
		half = half || isCommit(frame) && bytes.Contains(frame, []byte(`"after":"@`))
		return frame, pass
	}})
	w := s.start(t, toEach(t, recipients...))
	s.url = direct
	s.publish(t, bob, 1)
	s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return !c.After.IsZero() && severed.Load() })
	w.quit()
	if err := w.wait(t); err == nil {
		t.Error("Run = nil, want that it could not finish")
	}
	left, _ := s.checkpoint(t, 0)
	return left
}

func TestSecondWorkerGoesOnBetweenSlices(t *testing.T) {
	t.Parallel()
	inBothWays(t, func(t *testing.T, fastIngest bool) {
		t.Helper()
		t.Parallel()
		s := newSite(t, func(c *stream.Config) {
			c.Streams.Deliveries.FastIngest = fastIngest
			c.Worker.StopTimeout, c.Worker.CommitTimeout = 200*time.Millisecond, 200*time.Millisecond
		})
		all := readers(2500)
		left := s.stopBetweenSlices(t, all)
		if left.After.IsZero() || left.Sequence != 1 {
			t.Fatalf("first worker left the checkpoint %+v, want one within update 1", left)
		}
		s.config.Worker.StopTimeout, s.config.Worker.CommitTimeout = eventTimeout, eventTimeout
		second := s.start(t, toEach(t, all...))
		last := s.publishMany(t, 1, 2)
		s.awaitPosition(t, last)
		second.stop(t)
		wantOnce(t, s.deliveries(t), 1, last, all...)
	})
}

// A claim keeps after, also where nothing is committed before the next claim.
func TestClaimBetweenSlicesKeepsAfter(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Worker.StopTimeout, c.Worker.CommitTimeout = 200*time.Millisecond, 200*time.Millisecond
	})
	left := s.stopBetweenSlices(t, readers(3500))
	stuck := routerOf(t, func(ctx context.Context, _ states) (answer, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	w := s.start(t, stuck)
	c := s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Worker == w.ID() })
	if c.After != left.After || c.Sequence != left.Sequence {
		t.Errorf("claim wrote %+v, want worker %s and the position of %+v", c, w.ID(), left)
	}
}
