// Package plural counts things in words.
package plural

import "fmt"

// Of returns n with what there is of it: one for 1, else many. What follows the noun
// and agrees with it, such as a verb, may be part of both.
func Of[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}
