package plural_test

import (
	"testing"

	"github.com/presence-router/presence-router/internal/plural"
)

func TestOf(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0 replies are", 1: "1 reply is", 2: "2 replies are", -1: "-1 replies are"} {
		if got := plural.Of(n, "reply is", "replies are"); got != want {
			t.Errorf("Of(%d) = %q, want %q", n, got, want)
		}
	}
}
