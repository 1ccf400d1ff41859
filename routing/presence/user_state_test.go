package presence_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
)

func TestParseState(t *testing.T) {
	for _, tt := range []struct {
		name  string
		in    string
		valid bool
	}{
		{name: "online", in: "online", valid: true},
		{name: "unavailable", in: "unavailable", valid: true},
		{name: "offline", in: "offline", valid: true},
		{name: "busy", in: "busy", valid: true},
		{name: "unstable busy", in: "org.matrix.msc3026.busy", valid: true},
		{name: "namespaced", in: "com.example.away", valid: true},
		{name: "empty", in: ""},
		{name: "upper case", in: "Online"},
		{name: "unknown plain", in: "away"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state, err := presence.ParseState(tt.in)
			if tt.valid && (err != nil || string(state) != tt.in) {
				t.Errorf("ParseState(%q) = %q, %v, want no error", tt.in, state, err)
			}
			if !tt.valid && (!errors.Is(err, presence.ErrInvalidState) || state != "") {
				t.Errorf("ParseState(%q) = %q, %v, want ErrInvalidState", tt.in, state, err)
			}
		})
	}
}

// fieldChange changes one field of a state.
type fieldChange struct {
	name   string
	change func(*presence.UserState)
}

func fieldChanges() []fieldChange {
	return []fieldChange{
		{"UserID", func(s *presence.UserState) { s.UserID = presence.MustUserID("@alice:example.com") }},
		{"State", func(s *presence.UserState) { s.State = presence.Offline }},
		{"LastActive", func(s *presence.UserState) { s.LastActive++ }},
		{"LastFederationUpdate", func(s *presence.UserState) { s.LastFederationUpdate++ }},
		{"LastUserSync", func(s *presence.UserState) { s.LastUserSync++ }},
		{"StatusMsg", func(s *presence.UserState) { s.StatusMsg = presence.Status("") }},
		{"CurrentlyActive", func(s *presence.UserState) { s.CurrentlyActive = !s.CurrentlyActive }},
	}
}

func bob() presence.UserState {
	return presence.UserState{UserID: presence.MustUserID("@bob:example.com"), State: presence.Online, LastActive: 1795378782366}
}

func TestEveryFieldIsTested(t *testing.T) {
	exported := 0
	for f := range reflect.TypeFor[presence.UserState]().Fields() {
		if f.IsExported() {
			exported++
		}
	}
	if exported != len(fieldChanges()) {
		t.Errorf("UserState has %d exported fields, %d are tested", exported, len(fieldChanges()))
	}
}

func TestSameComparesEveryField(t *testing.T) {
	if a, b := bob().FromUpdate([]byte("{}"), 1), bob().FromUpdate([]byte("{ }"), 2); !a.Same(b) || a.Content() != b.Content() || a == b {
		t.Errorf("states of two updates that say the same: Same %t, equal contents %t, equal %t, want true, true, false",
			a.Same(b), a.Content() == b.Content(), a == b)
	}
	for _, tt := range fieldChanges() {
		t.Run(tt.name, func(t *testing.T) {
			changed := bob()
			tt.change(&changed)
			if bob().Same(changed) || changed.Content() == bob().Content() {
				t.Errorf("%+v is the same as %+v, want them to differ", changed, bob())
			}
		})
	}
}

func TestAltered(t *testing.T) {
	if !bob().Altered() {
		t.Error("a made-up state is not altered, want altered")
	}
	published := bob().FromUpdate([]byte("{}"), 7)
	if published.Altered() {
		t.Error("a state as it was published is altered, want unaltered")
	}
	for _, tt := range fieldChanges() {
		t.Run(tt.name, func(t *testing.T) {
			altered := published
			tt.change(&altered)
			if !altered.Altered() || altered.Published() != published.Published() {
				t.Errorf("altered copy: Altered %t, Published %p, want true and the update %p",
					altered.Altered(), altered.Published(), published.Published())
			}
		})
	}
}

func TestFromUpdateReplacesTheUpdate(t *testing.T) {
	first := bob().FromUpdate([]byte("first"), 1)
	first.State = presence.Busy
	second := first.FromUpdate([]byte("second"), 2)
	if p := second.Published(); string(p.JSON) != "second" || p.Position != 2 || second.Altered() {
		t.Errorf("second update: JSON %q, position %d, altered %t, want second, 2, false", p.JSON, p.Position, second.Altered())
	}
	if p := first.Published(); string(p.JSON) != "first" || p.Position != 1 || !first.Altered() {
		t.Errorf("first update: JSON %q, position %d, altered %t, want first, 1, true", p.JSON, p.Position, first.Altered())
	}
	if bob().Published() != nil || first.Content().Published() != nil {
		t.Error("a state without an update has one")
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*presence.UserState)
		want   error
		says   string
	}{
		{name: "valid", change: func(*presence.UserState) {}},
		{name: "no user", change: func(s *presence.UserState) { s.UserID = presence.UserID{} }, want: presence.ErrInvalidUserID, says: "user_id"},
		{name: "no state", change: func(s *presence.UserState) { s.State = "" }, want: presence.ErrInvalidState, says: `""`},
		{name: "unknown state", change: func(s *presence.UserState) { s.State = "away" }, want: presence.ErrInvalidState, says: `"away"`},
		{name: "last_active_ts", change: func(s *presence.UserState) { s.LastActive = -1 }, want: presence.ErrInvalidTime, says: "last_active_ts is -1"},
		{name: "last_federation_update_ts", change: func(s *presence.UserState) { s.LastFederationUpdate = -2 }, want: presence.ErrInvalidTime, says: "last_federation_update_ts is -2"},
		{name: "last_user_sync_ts", change: func(s *presence.UserState) { s.LastUserSync = -3 }, want: presence.ErrInvalidTime, says: "last_user_sync_ts is -3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := bob()
			tt.change(&s)
			err := s.Validate()
			if !errors.Is(err, tt.want) {
				t.Fatalf("Validate(%+v) = %v, want %v", s, err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Validate(%+v) = %q, want it to say %q", s, err, tt.says)
			}
		})
	}
}
