package presence_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
)

func TestParseUserID(t *testing.T) {
	for _, tt := range []struct {
		name      string
		in        string
		localpart string
		server    string
	}{
		{name: "plain", in: "@alice:example.com", localpart: "alice", server: "example.com"},
		{name: "server with a port", in: "@jo.ann:matrix.org:8448", localpart: "jo.ann", server: "matrix.org:8448"},
		{name: "server is an IPv6 address", in: "@x:[2001:db8::1]:8448", localpart: "x", server: "[2001:db8::1]:8448"},
		{name: "historical localpart", in: "@Historical Caps!é/+=@:example.com", localpart: "Historical Caps!é/+=@", server: "example.com"},
		{name: "empty localpart", in: "@:example.com", localpart: "", server: "example.com"},
		{name: "longest", in: "@" + strings.Repeat("a", 242) + ":example.com", localpart: strings.Repeat("a", 242), server: "example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := presence.ParseUserID(tt.in)
			if err != nil {
				t.Fatalf("ParseUserID(%q): %v, want no error", tt.in, err)
			}
			if id.String() != tt.in || id.Localpart() != tt.localpart || id.Server().String() != tt.server {
				t.Errorf("ParseUserID(%q) = %q, localpart %q, server %q, want localpart %q, server %q",
					tt.in, id, id.Localpart(), id.Server(), tt.localpart, tt.server)
			}
		})
	}
}

func TestParseUserIDRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   string
		want string // in the error
	}{
		{name: "empty", in: "", want: "does not start with @"},
		{name: "no sigil", in: "alice:example.com", want: "does not start with @"},
		{name: "a room alias", in: "#alice:example.com", want: "does not start with @"},
		{name: "no server", in: "@alice", want: "has no colon"},
		{name: "empty server", in: "@alice:", want: "the host is empty"},
		{name: "NUL", in: "@al\x00ice:example.com", want: "NUL"},
		{name: "NUL at the front", in: "@\x00:example.com", want: "NUL"},
		{name: "no UTF-8", in: "@\xff:example.com", want: "UTF-8"},
		{name: "too long", in: "@" + strings.Repeat("a", 243) + ":example.com", want: "256 bytes, at most 255"},
		{name: "server with a space", in: "@alice:example .com", want: `' '`},
		{name: "server with a bad port", in: "@alice:example.com:http", want: `port "http"`},
		{name: "wildcard server", in: "@alice:*", want: `'*'`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := presence.ParseUserID(tt.in)
			if !errors.Is(err, presence.ErrInvalidUserID) {
				t.Fatalf("ParseUserID(%q): error %v, want ErrInvalidUserID", tt.in, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseUserID(%q): error %q, want it to say %q", tt.in, err, tt.want)
			}
			if !id.IsZero() {
				t.Errorf("ParseUserID(%q) = %q beside an error, want the zero UserID", tt.in, id)
			}
		})
	}
}

func TestNewUserID(t *testing.T) {
	server := presence.MustServerName("example.com:8448")
	id, err := presence.NewUserID("jo.ann", server)
	if err != nil || id != presence.MustUserID("@jo.ann:example.com:8448") {
		t.Errorf("NewUserID(jo.ann, %s) = %q, %v", server, id, err)
	}
	if id, err := presence.NewUserID("jo:ann", server); !errors.Is(err, presence.ErrInvalidUserID) {
		t.Errorf("NewUserID(jo:ann, %s) = %q, %v, want ErrInvalidUserID", server, id, err)
	}
	if id, err := presence.NewUserID("alice", presence.ServerName{}); !errors.Is(err, presence.ErrInvalidUserID) {
		t.Errorf("NewUserID(alice, no server) = %q, %v, want ErrInvalidUserID", id, err)
	}
}

func TestZeroUserID(t *testing.T) {
	var id presence.UserID
	if !id.IsZero() || id.String() != "" || id.Localpart() != "" || !id.Server().IsZero() {
		t.Errorf("zero UserID = %q, localpart %q, server %q, want all empty", id, id.Localpart(), id.Server())
	}
}

func TestMustUserIDPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("MustUserID(alice) returned, want a panic")
		}
	}()
	presence.MustUserID("alice")
}

func TestUserIDIsAKeyOfJSON(t *testing.T) {
	in := map[presence.UserID]int{presence.MustUserID("@alice:example.com"): 1}
	encoded, err := json.Marshal(in)
	if err != nil || string(encoded) != `{"@alice:example.com":1}` {
		t.Fatalf("Marshal = %s, %v", encoded, err)
	}
	var out map[presence.UserID]int
	if err := json.Unmarshal(encoded, &out); err != nil || out[presence.MustUserID("@alice:example.com")] != 1 {
		t.Errorf("Unmarshal(%s) = %v, %v", encoded, out, err)
	}
	if err := json.Unmarshal([]byte(`{"alice":1}`), &out); !errors.Is(err, presence.ErrInvalidUserID) {
		t.Errorf("Unmarshal of an invalid user ID: error %v, want ErrInvalidUserID", err)
	}
}

func FuzzParseUserID(f *testing.F) {
	for _, s := range []string{
		"@alice:example.com", "@:example.com", "@jo.ann:[2001:db8::1]:8448", "@é b:1.2.3.4:80",
		"alice", "@alice", "@al\x00ice:example.com", "@alice:", "@@:a", "@a:b:c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := presence.ParseUserID(s)
		if err != nil {
			if !errors.Is(err, presence.ErrInvalidUserID) || !id.IsZero() {
				t.Fatalf("ParseUserID(%q) = %q, %v, want the zero UserID and ErrInvalidUserID", s, id, err)
			}
			return
		}
		if id.String() != s || len(s) > presence.MaxUserIDBytes {
			t.Fatalf("ParseUserID(%q) = %q", s, id)
		}
		if _, err := presence.ParseServerName(id.Server().String()); err != nil {
			t.Fatalf("ParseUserID(%q) has the server %q: %v", s, id.Server(), err)
		}
		if again, err := presence.NewUserID(id.Localpart(), id.Server()); err != nil || again != id {
			t.Fatalf("NewUserID(%q, %q) = %q, %v, want %q", id.Localpart(), id.Server(), again, err, id)
		}
	})
}
