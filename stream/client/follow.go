package client

import (
	"cmp"
	"context"
	"errors"
	"iter"
)

// Follow brings view up to date and keeps it so, and yields what is news to it:
// the newest state of a user each time there is one. It begins at the position of
// view, with the oldest delivery where that is new, and moves it while there is
// nothing to take, each minute or two. Errors are those of Deliveries.
func (c *Client) Follow(ctx context.Context, view *View) iter.Seq2[Latest, error] {
	return func(yield func(Latest, error) bool) {
		r := c.reading(ToUser(view.recipient), view.Position())
		r.yield = func(d Delivery, err error) bool { return view.takeTo(d, err, yield) }
		r.moved = view.move
		r.run(ctx)
	}
}

// takeTo takes what Deliveries yielded and yields what is news or wrong.
func (v *View) takeTo(d Delivery, err error, yield func(Latest, error) bool) bool {
	if err != nil {
		return yield(Latest{}, err)
	}
	for _, latest := range v.Take(d) {
		if !yield(latest, nil) {
			return false
		}
	}
	return true
}

// CatchUp has view take everything that is stored, and returns then: what All
// yields is a snapshot that Follow goes on from. It returns what Deliveries would
// yield as errors, joined: the first *ExpiredError, the last *InvalidDeliveryError
// and what ended it. Where ReadsOn reports true, view has taken everything else.
func (c *Client) CatchUp(ctx context.Context, view *View) error {
	var told [3]error
	r := c.reading(ToUser(view.recipient), view.Position())
	r.caughtUp = func() bool { return false }
	r.yield = func(d Delivery, err error) bool {
		switch {
		case err == nil:
			view.Take(d)
		case errors.As(err, new(*ExpiredError)):
			told[0] = cmp.Or(told[0], err)
		case errors.As(err, new(*InvalidDeliveryError)):
			told[1] = err
		default:
			told[2] = err
		}
		return true
	}
	r.run(ctx)
	view.move(r.after)
	return errors.Join(told[:]...)
}

// move sets the position, behind deliveries that are none of the recipient's.
func (v *View) move(to Position) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.position = to
}
