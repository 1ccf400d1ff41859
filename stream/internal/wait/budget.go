package wait

import "time"

// budget bounds how often something is done: as often as most at once, and most times
// in each per.
type budget struct {
	each time.Duration // the time in which one more is earned
	most time.Duration // what can be saved
	upTo time.Time     // up to when everything earned is spent
}

func newBudget(most int, per time.Duration) budget {
	return budget{each: per / time.Duration(most), most: per}
}

// take spends one and returns 0, or spends nothing and returns how long it is until
// there is one.
func (b *budget) take(now time.Time) time.Duration {
	upTo := b.upTo
	if saved := now.Add(-b.most); upTo.Before(saved) {
		upTo = saved
	}
	upTo = upTo.Add(b.each)
	if upTo.After(now) {
		return upTo.Sub(now)
	}
	b.upTo = upTo
	return 0
}
