package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/presence-router/presence-router/internal/fault"
)

func TestFieldErrorReadsAsASentence(t *testing.T) {
	type word string
	tests := []struct {
		name  string
		field fault.Field
		want  string
	}{
		{"number", fault.Field{Path: "replicas", Value: 2, Bound: "1, 3 or 5"}, "replicas is 2: want 1, 3 or 5"},
		{"empty string", fault.Field{Path: "url", Value: "", Bound: "a URL"}, `url is "": want a URL`},
		{"named string", fault.Field{Path: "log.level", Value: word("loud"), Bound: "info"}, `log.level is "loud": want info`},
		{"missing", fault.Field{Path: "server_names", Bound: "at least one"}, "server_names is missing: want at least one"},
		{"other error", fault.Field{Path: "config", Err: io.EOF}, "config: EOF"},
		{"other error, no path", fault.Field{Err: io.EOF}, "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.field.Error(); got != tt.want {
				t.Errorf("Error() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestUnderMovesEveryField(t *testing.T) {
	err := errors.Join(
		&fault.Field{Path: "replicas", Value: 2, Bound: "1"},
		errors.Join(&fault.Field{Path: "[1]", Value: 0, Bound: "3"}, nil),
		fmt.Errorf("%w and %w", io.EOF, io.ErrNoProgress),
	)
	got := fault.Under("streams", err).Error()
	want := "streams.replicas is 2: want 1\nstreams[1] is 0: want 3\nstreams: EOF and " + io.ErrNoProgress.Error()
	if got != want {
		t.Errorf("Under(streams, %v) = %q, want %q", err, got, want)
	}
}

func TestUnderKeepsNil(t *testing.T) {
	if err := fault.Under("streams", nil); err != nil {
		t.Errorf("Under(streams, nil) = %v, want nil", err)
	}
}

func TestFieldUnwraps(t *testing.T) {
	if err := fault.Under("config", io.EOF); !errors.Is(err, io.EOF) {
		t.Errorf("errors.Is(%v, io.EOF) = false, want true", err)
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	for value, want := range map[int]string{0: "size is 0: want 1 to 3", 1: "", 3: "", 4: "size is 4: want 1 to 3"} {
		got := ""
		if err := fault.Within("size", value, 1, 3); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("Within(%d) = %q, want %q", value, got, want)
		}
	}
}
