package jsapi

import (
	"strconv"
	"strings"
)

// AtLeast compares major, minor and patch; what follows a dash does not count.
func AtLeast(version, lowest string) bool {
	have, want := numbers(version), numbers(lowest)
	for i := range want {
		if have[i] != want[i] {
			return have[i] > want[i]
		}
	}
	return true
}

func numbers(version string) (parts [3]int) {
	version, _, _ = strings.Cut(version, "-")
	for i, part := range strings.SplitN(version, ".", len(parts)) {
		parts[i], _ = strconv.Atoi(part) // What is no number counts as 0.
	}
	return parts
}
