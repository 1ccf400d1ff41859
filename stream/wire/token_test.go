package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/stream/wire"
)

func TestEncodeToken(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain bytes stay", "AZaz09-_=+/~@", "AZaz09-_=+/~@"},
		{"empty", "", "%"},
		{"server name with port", "matrix.org:8448", "matrix%2Eorg%3A8448"},
		{"localpart with dot", "jo.ann", "jo%2Eann"},
		{"IPv6", "[::1]", "%5B%3A%3A1%5D"},
		{"what NATS reserves", ".*> \t\r\n", "%2E%2A%3E%20%09%0D%0A"},
		{"percent itself", "%2E", "%252E"},
		{"outside ASCII", "é☕", "%C3%A9%E2%98%95"},
		{"no UTF-8", "\xff", "%FF"},
		{"NUL", "\x00", "%00"},
		{"escapes between runs", "a.b.c", "a%2Eb%2Ec"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := wire.EncodeToken(tt.in); got != tt.want {
				t.Errorf("EncodeToken(%q) = %q, want %q", tt.in, got, tt.want)
			}
			if got := string(wire.AppendToken([]byte("x"), tt.in)); got != "x"+tt.want {
				t.Errorf("AppendToken(x, %q) = %q, want %q", tt.in, got, "x"+tt.want)
			}
			if got, err := wire.DecodeToken(tt.want); err != nil || got != tt.in {
				t.Errorf("DecodeToken(%q) = %q, %v, want %q", tt.want, got, err, tt.in)
			}
		})
	}
}

func TestDecodeTokenRefuses(t *testing.T) {
	tests := []struct{ name, token, message string }{
		{"empty", "", "empty"},
		{"lower-case hex", "matrix%2eorg", `"%2e"`},
		{"escape cut off", "a%2", "two hex digits"},
		{"percent before text", "%zz", `"%zz"`},
		{"percent twice", "%%", "two hex digits"},
		{"needless escape", "%61", "%61 must be written as a"},
		{"dot", "matrix.org", "%2E"},
		{"space", "a b", "%20"},
		{"outside ASCII", "é", "%C3"},
		{"as long as is shown", strings.Repeat("a", 63) + ".", `"` + strings.Repeat("a", 63) + `.": `},
		{"long and no text", strings.Repeat("\x80", 100), `"` + strings.Repeat(`\x80`, 60) + `…"`},
		{"long", strings.Repeat("a", 300) + ".", "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeToken(tt.token)
			if !errors.Is(err, wire.ErrInvalidToken) {
				t.Fatalf("DecodeToken(%q) = %q, %v, want ErrInvalidToken", tt.token, got, err)
			}
			checkMessage(t, err, tt.message)
		})
	}
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "%", "matrix.org:8448", "matrix%2Eorg", "%2e", "%00", "☕", "%61", "a%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := wire.EncodeToken(s)
		if token == "" || strings.ContainsAny(token, ".*> \t\r\n\x00") {
			t.Errorf("EncodeToken(%q) = %q is not one token", s, token)
		}
		if got, err := wire.DecodeToken(token); err != nil || got != s {
			t.Errorf("DecodeToken(EncodeToken(%q)) = %q, %v", s, got, err)
		}
		if decoded, err := wire.DecodeToken(s); err == nil && wire.EncodeToken(decoded) != s {
			t.Errorf("DecodeToken(%q) = %q, which encodes to %q", s, decoded, wire.EncodeToken(decoded))
		}
	})
}
