package sender

import "time"

// PinnedUntil returns until when a pin counts that the server confirmed in its answer to
// what it was asked at a time.
func PinnedUntil(ttl time.Duration, asked time.Time) time.Time {
	o := newOutbox(DefaultConfig(), time.Now, nil)
	p := &pin{ttl: ttl}
	o.confirm(p, asked)
	o.release(p)
	return p.until
}
