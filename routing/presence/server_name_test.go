package presence_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
)

func TestParseServerName(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   string
		want string // in the error; "" for no error
	}{
		{name: "DNS name", in: "example.com"},
		{name: "one label", in: "localhost"},
		{name: "upper case", in: "Example.COM"},
		{name: "port", in: "matrix.org:8448"},
		{name: "IPv4", in: "1.2.3.4"},
		{name: "IPv4 and port", in: "1.2.3.4:80"},
		{name: "IPv6", in: "[2001:db8::1]"},
		{name: "IPv6 and port", in: "[2001:db8::1]:8448"},
		{name: "IPv4 in IPv6", in: "[::ffff:1.2.3.4]"},
		{name: "port of one digit", in: "a:1"},
		{name: "port of five digits", in: "a:65535"},
		{name: "every byte of a host", in: "abcdefghijklmnopqrstuvwxyz.ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789"},
		{name: "longest host", in: strings.Repeat("a", 255)},

		{name: "empty", in: "", want: "the host is empty"},
		{name: "port alone", in: ":8448", want: "the host is empty"},
		{name: "empty port", in: "example.com:", want: `port ""`},
		{name: "port of six digits", in: "example.com:123456", want: "1 to 5 digits"},
		{name: "port with a sign", in: "example.com:+1", want: `port "+1"`},
		{name: "underscore", in: "ex_ample.com", want: `'_'`},
		{name: "not ASCII", in: "exämple.com", want: "is not allowed"},
		{name: "IPv6 without brackets", in: "2001:db8::1", want: `':'`},
		{name: "open bracket", in: "[2001:db8::1", want: "no closing bracket"},
		{name: "IPv4 in brackets", in: "[1.2.3.4]", want: "no IPv6 address"},
		{name: "IPv6 with a zone", in: "[fe80::1%eth0]", want: "no IPv6 address"},
		{name: "something after the bracket", in: "[::1]x", want: "no closing bracket"},
		{name: "host too long", in: strings.Repeat("a", 256), want: "256 bytes, at most 255"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name, err := presence.ParseServerName(tt.in)
			if tt.want == "" {
				if err != nil || name.String() != tt.in {
					t.Errorf("ParseServerName(%q) = %q, %v, want no error", tt.in, name, err)
				}
				return
			}
			if !errors.Is(err, presence.ErrInvalidServerName) || !strings.Contains(err.Error(), tt.want) || !name.IsZero() {
				t.Errorf("ParseServerName(%q) = %q, %v, want ErrInvalidServerName that says %q", tt.in, name, err, tt.want)
			}
		})
	}
}

func TestServerNameText(t *testing.T) {
	name := presence.MustServerName("example.com")
	text, err := name.MarshalText()
	if err != nil || string(text) != "example.com" {
		t.Errorf("MarshalText = %q, %v", text, err)
	}
	var parsed presence.ServerName
	if err := parsed.UnmarshalText(text); err != nil || parsed != name {
		t.Errorf("UnmarshalText(%q) = %q, %v", text, parsed, err)
	}
	if err := parsed.UnmarshalText([]byte("a b")); !errors.Is(err, presence.ErrInvalidServerName) || parsed != name {
		t.Errorf("UnmarshalText(a b) = %q, %v, want ErrInvalidServerName and the name as it was", parsed, err)
	}
}

func TestMustServerNamePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("MustServerName(a b) returned, want a panic")
		}
	}()
	presence.MustServerName("a b")
}

func FuzzParseServerName(f *testing.F) {
	for _, s := range []string{"example.com", "example.com:8448", "[2001:db8::1]:1", "[::1", "1.2.3.4", "", ":", "[]:", "a]b:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := presence.ParseServerName(s)
		if err != nil {
			if !errors.Is(err, presence.ErrInvalidServerName) || !name.IsZero() {
				t.Fatalf("ParseServerName(%q) = %q, %v, want no name and ErrInvalidServerName", s, name, err)
			}
			return
		}
		if name.String() != s || strings.ContainsAny(s, " @/*>\x00") {
			t.Fatalf("ParseServerName(%q) = %q", s, name)
		}
		if len(s) < 200 {
			if id, err := presence.NewUserID("a", name); err != nil || id.Server() != name {
				t.Fatalf("NewUserID(a, %q) = %q, %v", name, id, err)
			}
		}
	})
}
