package wire_test

import (
	"strings"
	"testing"

	"github.com/presence-router/presence-router/stream/wire"
)

func TestCheckAPIPrefix(t *testing.T) {
	t.Parallel()
	for _, good := range []string{wire.DefaultAPIPrefix, "presence.js", "a", strings.Repeat("x", 64), "1.2.3.4.5.6.7.8"} {
		if err := wire.CheckAPIPrefix(good); err != nil {
			t.Errorf("CheckAPIPrefix(%q) = %v, want nil", good, err)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a.*", ">", "a b", "é", strings.Repeat("x", 65), "1.2.3.4.5.6.7.8.9"} {
		if err := wire.CheckAPIPrefix(bad); err == nil || !strings.HasPrefix(err.Error(), `API prefix is "`+bad) && len(bad) < 64 {
			t.Errorf("CheckAPIPrefix(%q) = %v, want an error that names it", bad, err)
		}
	}
}
