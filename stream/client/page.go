package client

import (
	"errors"

	"github.com/presence-router/presence-router/routing/presence"
)

// errStuck is about a service whose pages do not advance, which would be asked for
// ever.
var errStuck = errors.New("the next page begins where this one did")

// each yields the elements of page after page, and the error that ends them. It
// reports whether all of them were wanted. next asks for the next page, and says
// whether there is one behind it.
func each[E any](yield func(E, error) bool, next func() (elements []E, more bool, err error)) bool {
	for more := true; more; {
		var elements []E
		var err error
		if elements, more, err = next(); err != nil {
			var none E
			yield(none, err)
			return false
		}
		for _, element := range elements {
			if !yield(element, nil) {
				return false
			}
		}
	}
	return true
}

// turn moves after to the next page and reports whether there is one.
func turn(after *presence.UserID, next presence.UserID) (more bool, err error) {
	if next.IsZero() {
		return false, nil
	}
	if next == *after {
		return false, errStuck
	}
	*after = next
	return true, nil
}
