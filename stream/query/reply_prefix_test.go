package query_test

import (
	"strings"
	"testing"

	"github.com/presence-router/presence-router/stream/query"
)

func TestRepliesThatAreAllowed(t *testing.T) {
	t.Parallel()
	config := query.DefaultConfig()
	defaults := map[string]bool{
		"": true, "_INBOX.a": true, "_INBOX.hs.a.b": true, "_R_.a.b": true, "_INBOX." + strings.Repeat("a", 1017): true,
		"$JS.API.STREAM.DELETE.PRESENCE_UPDATES": false, "$JS.ACK.a.b": false, "$KV.PRESENCE_WORKERS.layout": false, "$SRV.PING": false,
		"presence.checkpoint.3": false, "presence.deliver.local.5.a.b": false, "a": false, ".": false, "._INBOX.a": false,
		"_INBOX": false, "_INBOX.": false, "_INBOXX.a": false, "_inbox.a": false, "_R_": false, "_R_X.a": false, "_GR_.a.b._INBOX.a": false,
		"_INBOX..a": false, "_INBOX.a.": false, "_INBOX.a..b": false, "_INBOX.>": false, "_INBOX.*": false, "_INBOX.a.>": false,
		"_INBOX." + strings.Repeat("a", 1018): false,
	}
	wantReplies(t, "", config, defaults)
	config.ReplyPrefixes = []query.ReplyPrefix{"_INBOX.hs", "replies"}
	wantReplies(t, "_INBOX.worker", config, map[string]bool{
		"_INBOX.hs.a": true, "_INBOX.worker.a": true, "replies.a": true, "": true,
		"_INBOX.a": false, "_INBOX.hs": false, "_INBOX.hs2.a": false, "_R_.a": false, "replies": false,
	})
	config.ReplyPrefixes = nil
	wantReplies(t, "", config, map[string]bool{"_INBOX.a": true, "_R_.a": false})
	for inbox, want := range map[string]string{
		"$JS.API": "no $ at the start", "presence.deliver": "another first token than presence", "_INBOX.>": "without * and >",
	} {
		if _, err := query.RepliesTo(inbox, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("inbox prefix %s: %v, want %s", inbox, err, want)
		}
	}
}

func wantReplies(t *testing.T, inbox string, config query.Config, subjects map[string]bool) {
	t.Helper()
	answers, err := query.RepliesTo(inbox, config)
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range subjects {
		if got := answers(subject); got != want {
			t.Errorf("with inboxes below %q and %v a reply to %q is allowed: %v, want %v", inbox, config.ReplyPrefixes, subject, got, want)
		}
	}
}

func TestReplyPrefix(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[query.ReplyPrefix]bool{
		"_INBOX": true, "_INBOX.hs": true, "_R_": true, "a/b.%2E.~": true, query.ReplyPrefix(strings.Repeat("a", 128)): true,
		"": false, ".": false, "_INBOX.": false, "._INBOX": false, "a..b": false, "_INBOX.*": false, ">": false, "a>b": false,
		"$JS.API": false, "$": false, "a b": false, "a\t": false, "a\x7f": false, "ä": false, "a\xff": false,
		query.ReplyPrefix(strings.Repeat("a", 129)): false,
	} {
		err := prefix.Validate()
		if got := err == nil; got != want {
			t.Errorf("ReplyPrefix(%q).Validate() = %v, want that it is allowed: %v", prefix, err, want)
		}
	}
}
