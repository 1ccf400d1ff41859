package wire_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

const maxUpdateBytes = 64 << 10

// golden compares got with testdata/name, which holds it and a newline.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), append(bytes.Clone(got), '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := fs.ReadFile(os.DirFS("testdata"), name)
	if err != nil {
		t.Fatal(err)
	}
	if want = bytes.TrimSuffix(want, []byte("\n")); !bytes.Equal(got, want) {
		t.Errorf("%s differs\n got: %s\nwant: %s", name, got, want)
	}
}

// capture returns the updates of a Dendrite pair, one a line.
func capture(tb testing.TB) [][]byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "presence-capture.ndjson"))
	if err != nil {
		tb.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
}

func subjects(tb testing.TB) wire.Subjects {
	tb.Helper()
	s, err := wire.NewSubjects("presence")
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func decode(tb testing.TB, data string, position uint64) presence.UserState {
	tb.Helper()
	state, err := wire.DecodeUpdate([]byte(data), position, maxUpdateBytes)
	if err != nil {
		tb.Fatalf("DecodeUpdate(%s): %v", data, err)
	}
	return state
}

// checkMessage reports an error that is missing or does not say all of parts.
func checkMessage(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}
