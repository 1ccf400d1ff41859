package stream_test

import (
	"strings"
	"testing"

	"github.com/presence-router/presence-router/stream"
)

func TestReplyPrefix(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[stream.ReplyPrefix]bool{
		"_INBOX": true, "_INBOX.hs": true, "_R_": true, "a/b.%2E.~": true, stream.ReplyPrefix(strings.Repeat("a", 128)): true,
		"": false, ".": false, "_INBOX.": false, "._INBOX": false, "a..b": false, "_INBOX.*": false, ">": false, "a>b": false,
		"$JS.API": false, "$": false, "a b": false, "a\t": false, "a\x7f": false, "ä": false, "a\xff": false,
		stream.ReplyPrefix(strings.Repeat("a", 129)): false,
	} {
		err := prefix.Validate()
		if got := err == nil; got != want {
			t.Errorf("ReplyPrefix(%q).Validate() = %v, want that it is allowed: %v", prefix, err, want)
		}
	}
}
