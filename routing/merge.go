package routing

import (
	"errors"
	"fmt"

	"github.com/presence-router/presence-router/routing/presence"
)

var errNobody = errors.New("a recipient has no user ID")

// answer is what one router returned for a batch.
type answer map[presence.UserID][]presence.UserState

func (a answer) some() bool { return len(a) > 0 }

// share is what one router chose for one recipient.
type share struct {
	recipient presence.UserID
	router    int // index of the registration
	states    []presence.UserState
}

// merger makes one list of recipients of the answers of all routers.
type merger struct {
	selection *selection
	names     []string    // of the routers
	rejected  []rejection // what cannot be delivered, per router
}

// rejection is the part of a router's answer that cannot be delivered.
type rejection struct {
	count int
	first error
}

func (r *rejection) add(err error) {
	if r.count == 0 {
		r.first = err
	}
	r.count++
}

// err returns nil where nothing was rejected.
func (r *rejection) err() error {
	if r.count == 0 {
		return nil
	}
	return fmt.Errorf("%d entries left out, the first because: %w", r.count, r.first)
}

// merge returns the recipients that answers, one per router, name for the states of
// the selection's batch.
func (m *merger) merge(answers []answer) []Recipient {
	shares := byRecipient(m.shares(answers))
	recipients := make([]Recipient, 0, len(shares))
	for len(shares) > 0 {
		n := sameRecipient(shares)
		chosenBy := m.selectFrom(shares[:n])
		if states := m.selection.take(); len(states) > 0 {
			recipients = append(recipients, Recipient{
				UserID: shares[0].recipient, States: states, chosenBy: chosenBy, names: m.names,
			})
		}
		shares = shares[n:]
	}
	return recipients
}

// shares lists what answers hold.
func (m *merger) shares(answers []answer) []share {
	size := 0
	for _, a := range answers {
		size += len(a)
	}
	shares := make([]share, 0, size)
	for router, a := range answers {
		for recipient, states := range a {
			if recipient.IsZero() {
				m.rejected[router].add(errNobody)
				continue
			}
			shares = append(shares, share{recipient: recipient, router: router, states: states})
		}
	}
	return shares
}

// sameRecipient returns how many of shares, from the first, are for one recipient.
func sameRecipient(shares []*share) int {
	n := 1
	for n < len(shares) && shares[n].recipient == shares[0].recipient {
		n++
	}
	return n
}

// selectFrom selects the states of shares, all for one recipient, and returns the
// routers that chose one of them.
func (m *merger) selectFrom(shares []*share) routerSet {
	var chosenBy routerSet
	m.selection.begin(shares[0].recipient)
	for _, share := range shares {
		if m.selectStates(share) {
			chosenBy = chosenBy.with(share.router)
		}
	}
	return chosenBy
}

func (m *merger) selectStates(share *share) (some bool) {
	for i := range share.states {
		added, err := m.selection.add(&share.states[i])
		if err != nil {
			m.rejected[share.router].add(err)
		}
		some = some || added
	}
	return some
}
