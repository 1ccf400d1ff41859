package client

import (
	"context"
	"iter"
)

// Follow brings view up to date and keeps it so, and yields what is news to it:
// the newest state of a user each time there is one. It begins at the position of
// view, with the oldest delivery where that is new. Errors are those of Deliveries.
func (c *Client) Follow(ctx context.Context, view *View) iter.Seq2[Latest, error] {
	return func(yield func(Latest, error) bool) {
		for d, err := range c.Deliveries(ctx, ToUser(view.recipient), view.Position()) {
			if !view.takeTo(d, err, yield) {
				return
			}
		}
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
// yields is a snapshot that Follow goes on from. Where it returns an *ExpiredError
// or an *InvalidDeliveryError, view has taken everything else.
func (c *Client) CatchUp(ctx context.Context, view *View) error {
	var told error
	r := &reading{client: c, filter: c.Filter(ToUser(view.recipient)), after: view.Position(), caughtUp: func() bool { return false }}
	r.yield = func(d Delivery, err error) bool {
		if err != nil {
			told = err // the last one, of any number
			return true
		}
		view.Take(d)
		return true
	}
	r.run(ctx)
	view.move(r.after)
	return told
}

// move sets the position, behind deliveries that are none of the recipient's.
func (v *View) move(to Position) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.position = to
}
