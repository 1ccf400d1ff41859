package wire_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

func TestAppendStateGolden(t *testing.T) {
	bob := presence.MustUserID("@bob:example.com")
	published := decode(t, `{ "user_id": "@bob:example.com", "x": {"y": [1.0]}, "state": "online", "status_msg": "\u0061" }`, 7)
	altered := published
	altered.State = presence.Unavailable
	tests := []struct {
		name  string
		state presence.UserState
	}{
		{"state_unaltered.json", published},
		{"state_altered.json", altered},
		{"state_made_up.json", presence.UserState{
			UserID: bob, State: presence.Busy, LastActive: 1795378782366, LastFederationUpdate: 1, LastUserSync: 1<<63 - 1,
			StatusMsg: presence.Status("\"quoted\" \\ \x00\x1f\b\f\n\r\t\x7f </script> & ☕😀 \u2028\u2029 \xff"), CurrentlyActive: true,
		}},
		{"state_without_status.json", presence.UserState{UserID: bob, State: presence.Offline}},
		{"state_empty_status.json", presence.UserState{UserID: bob, State: presence.Offline, StatusMsg: presence.Status("")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := wire.AppendState([]byte("x"), tt.state)
			if !bytes.HasPrefix(got, []byte("x")) || !json.Valid(got[1:]) {
				t.Errorf("AppendState(x, %+v) = %s, want x and JSON", tt.state, got)
			}
			golden(t, tt.name, got[1:])
		})
	}
}

func FuzzAppendState(f *testing.F) {
	f.Add("bob", "com.example.away", "lunch ☕", int64(5), true)
	f.Add("\"\\", ".\u2028", "\x00\x1f\xff\xed\xa0\x80<&>\b\f", int64(-1), false)
	f.Fuzz(func(t *testing.T, localpart, state, status string, ms int64, active bool) {
		user, err := presence.ParseUserID("@" + localpart + ":example.com")
		if err != nil {
			return
		}
		s := presence.UserState{
			UserID: user, State: presence.State(state), LastActive: ms, LastFederationUpdate: ms / 2, LastUserSync: ms / 3,
			StatusMsg: presence.Status(status), CurrentlyActive: active,
		}
		if got, want := string(wire.AppendState(nil, s)), referenceEncode(t, s); got != want {
			t.Errorf("AppendState(%+v)\n got %s\nwant %s", s, got, want)
		}
	})
}

// referenceEncode is AppendState of an altered state by encoding/json.
func referenceEncode(t *testing.T, s presence.UserState) string {
	t.Helper()
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		UserID               string `json:"user_id"`
		State                string `json:"state"`
		LastActive           int64  `json:"last_active_ts"`
		LastFederationUpdate int64  `json:"last_federation_update_ts"`
		LastUserSync         int64  `json:"last_user_sync_ts"`
		StatusMsg            string `json:"status_msg"`
		CurrentlyActive      bool   `json:"currently_active"`
	}{s.UserID.String(), string(s.State), s.LastActive, s.LastFederationUpdate, s.LastUserSync, s.StatusMsg.Text, s.CurrentlyActive})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
