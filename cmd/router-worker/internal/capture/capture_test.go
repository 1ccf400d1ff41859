package capture_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/capture"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/wire"
)

const maxBytes = 256

func TestMain(m *testing.M) { os.Exit(natstest.Main(m)) }

// updateOf returns the nth update of bob.
func updateOf(n int) string {
	return fmt.Sprintf(`{"user_id":"@bob:example.com","state":"online","last_active_ts":%d}`, n)
}

func TestRead(t *testing.T) {
	t.Parallel()
	good := updateOf(1)
	tests := []struct {
		name string
		in   string
		want []string // number, then user or reason
	}{
		{"nothing", "", nil},
		{"blank lines", "\n \n\r\n\t", nil},
		{"one line", good + "\n", []string{"1 @bob:example.com"}},
		{"no line break at the end", good, []string{"1 @bob:example.com"}},
		{"line breaks of Windows and a byte order mark", "\ufeff" + good + "\r\n" + good + "\r\n", []string{
			"1 @bob:example.com", "2 @bob:example.com",
		}},
		{"numbers count blank lines", "\n\n" + good + "\n{}\n", []string{"3 @bob:example.com", "4 invalid_user_id"}},
		{"as long as it may be", padded(maxBytes) + "\n", []string{"1 @bob:example.com"}},
		{"too long", padded(maxBytes+1) + "\n" + good, []string{"1 too_large", "2 @bob:example.com"}},
		{"far too long", padded(1<<20) + "\n" + good, []string{"1 too_large", "2 @bob:example.com"}},
		{"a byte order mark elsewhere", good + "\n\ufeff" + good, []string{"1 @bob:example.com", "2 malformed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for line := range capture.Read(iotest.HalfReader(strings.NewReader(tt.in)), maxBytes) {
				got = append(got, fmt.Sprint(line.Number, " ", told(line)))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) {
				t.Errorf("Read(%.100q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

// padded returns an update of that many bytes.
func padded(size int) string {
	update := updateOf(1)
	return `{"x":"` + strings.Repeat("x", size-len(`{"x":"",`)-len(update)+1) + `",` + update[1:]
}

func TestReadSaysHowLongALineIs(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{padded(1<<20) + "\n", "too_large: line is 1048576 bytes, at most 256 are allowed for an update"},
		{strings.Repeat(" ", 1<<20) + updateOf(1), "too_large: line is"}, // of which the beginning is blank
	}
	for _, tt := range tests {
		count := 0
		for line := range capture.Read(strings.NewReader(tt.in), maxBytes) {
			if count++; line.Err == nil || !strings.HasPrefix(line.Err.Error(), tt.want) {
				t.Errorf("Read(%.10q) says %v, want %s", tt.in, line.Err, tt.want)
			}
		}
		if count != 1 {
			t.Errorf("Read(%.10q) yields %d lines, want 1", tt.in, count)
		}
	}
}

func told(line capture.Line) string {
	if invalid, ok := errors.AsType[*wire.InvalidError](line.Err); ok {
		return string(invalid.Reason)
	}
	return line.State.UserID.String()
}

func TestReadEndsWithTheErrorOfItsReader(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk is gone")
	in := io.MultiReader(strings.NewReader(updateOf(1)+"\n"), iotest.ErrReader(broken))
	var got []error
	for line := range capture.Read(in, maxBytes) {
		got = append(got, line.Err)
	}
	if len(got) != 2 || got[0] != nil || !errors.Is(got[1], capture.ErrRead) || !errors.Is(got[1], broken) {
		t.Errorf("Read yields errors %v, want none, then the one of the reader", got)
	}
}

func TestExampleIsAllUpdates(t *testing.T) {
	t.Parallel()
	count := 0
	for line := range capture.Read(capture.Example(), 64<<10) {
		if line.Err != nil {
			t.Errorf("line %d: %v", line.Number, line.Err)
		}
		count++
	}
	if count != 670 {
		t.Errorf("the example holds %d updates, want 670", count)
	}
}
