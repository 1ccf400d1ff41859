package federation_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/internal/federation"
)

// seed is one of the Matrix specification (appendices, "Cryptographic Test Vectors").
const seed = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"

func pemOf(kind, id string) string {
	return fmt.Sprintf("-----BEGIN %s-----\nKey-ID: %s\n\n%s=\n-----END %[1]s-----\n", kind, id, seed)
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, file, id, fault string
	}{
		{name: "one line", file: "ed25519 a_key " + seed + "\n", id: "ed25519:a_key"},
		{name: "several lines, the first counts", file: "\n  ed25519 1 " + seed + "\r\ned25519 2 " + seed, id: "ed25519:1"},
		{name: "padded", file: "ed25519 1 " + seed + "=", id: "ed25519:1"},
		{name: "PEM", file: pemOf("MATRIX PRIVATE KEY", "ed25519:auto"), id: "ed25519:auto"},
		{name: "PEM of another kind", file: pemOf("PRIVATE KEY", "ed25519:auto"), fault: `the PEM block is "PRIVATE KEY"`},
		{name: "PEM without version", file: pemOf("MATRIX PRIVATE KEY", "auto"), fault: `with the Key-ID "auto"`},
		{name: "empty", fault: "the file holds none"},
		{name: "words", file: "ed25519 " + seed, fault: "the first line has 2 words, want 3"},
		{name: "algorithm", file: "rsa 1 " + seed, fault: "the algorithm is not ed25519"},
		{name: "version", file: "ed25519 a:b " + seed, fault: `the version is "a:b"`},
		{name: "too short", file: "ed25519 1 " + seed[:40], fault: "the seed is not 32 bytes"},
		{name: "no base64", file: "ed25519 1 " + seed[:42] + "*", fault: "the seed is not 32 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, err := federation.ParseKey([]byte(tt.file))
			if tt.fault == "" && (err != nil || key.ID() != tt.id) {
				t.Errorf("ParseKey(%q) = %v, %v, want %s", tt.file, key, err, tt.id)
			}
			if tt.fault != "" && (!errors.Is(err, federation.ErrInvalidKey) || !strings.Contains(err.Error(), tt.fault)) {
				t.Errorf("ParseKey(%q) = %v, want ErrInvalidKey: %s", tt.file, err, tt.fault)
			}
			if shown := fmt.Sprintf("%v %+v %#v %s %v", key, key, key, key, err); strings.Contains(shown, seed[:20]) {
				t.Errorf("the key shows itself: %s", shown)
			}
		})
	}
}

func TestAppendCanonical(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"empty", `{}`, `{}`},
		{"keys", `{ "one": 1, "two": "Two" }`, `{"one":1,"two":"Two"}`},
		{"order", `{"b":"2","a":"1"}`, `{"a":"1","b":"2"}`},
		{"nested", `{"auth":{"success":true,"mxid":"@john.doe:example.com"},"z":[{"b":null,"a":-0}]}`, `{"auth":{"mxid":"@john.doe:example.com","success":true},"z":[{"a":0,"b":null}]}`},
		{"order by code point", `{"日":1,"本":2,"\ud83d\ude00":3,"\uffee":4}`, "{\"日\":1,\"本\":2,\"\uffee\":4,\"😀\":3}"},
		{"escapes", `"\u0061\/\u2028<>&\u0000\u001f\u007f\b\t\n\f\r\"\\"`, "\"a/\u2028<>&\\u0000\\u001f\u007f\\b\\t\\n\\f\\r\\\"\\\\\""},
		{"integers", `[9007199254740991,-9007199254740991]`, `[9007199254740991,-9007199254740991]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := federation.AppendCanonical([]byte("x"), []byte(tt.in))
			if err != nil || string(got) != "x"+tt.want {
				t.Errorf("AppendCanonical(%s) = %s, %v, want %s", tt.in, got, err, tt.want)
			}
		})
	}
	for _, in := range []string{``, `{`, `{} {}`, `1.5`, `1e3`, `9007199254740992`, `[-9007199254740992]`, `{"a":0.1}`} {
		if got, err := federation.AppendCanonical(nil, []byte(in)); !errors.Is(err, federation.ErrNotCanonical) {
			t.Errorf("AppendCanonical(%s) = %s, %v, want ErrNotCanonical", in, got, err)
		}
	}
}

func FuzzAppendCanonical(f *testing.F) {
	for _, in := range []string{`{"b":[1,"\u2028"],"a":null}`, `"\ud83d"`, `[1e3]`, `{"a":1,"a":2}`} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		once, err := federation.AppendCanonical(nil, in)
		if err != nil {
			return
		}
		twice, err := federation.AppendCanonical(nil, once)
		if err != nil || string(twice) != string(once) {
			t.Errorf("AppendCanonical(%s) = %s, and of that %s, %v", in, once, twice, err)
		}
	})
}
