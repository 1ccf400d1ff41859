package terminal_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"plain text", `lunch ☕ línea "ocupada" \n`, `lunch ☕ línea "ocupada" \n`},
		{"an emoji of several parts", "👩\u200d💻", "👩\u200d💻"},
		{"escape sequence", "\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`},
		{"line breaks and tabs", "a\r\nb\tc", `a\r\nb\tc`},
		{"bell and delete", "\a\x7f", `\x07\x7f`},
		{"control characters beyond ASCII", "\u009b31m", `\u009b31m`},
		{"direction of writing", "\u202egpj.exe\u2066", `\u202egpj.exe\u2066`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"no UTF-8", "a\xffb\xc3", `a\xffb\xc3`},
		{"the replacement character itself", "\ufffd", "\ufffd"},
		{"private plane", "\U000f0000", `\U000f0000`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := terminal.Escape(tt.in); got != tt.want {
				t.Errorf("Escape(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestEscapeLinesKeepsLineBreaks(t *testing.T) {
	t.Parallel()
	if got, want := terminal.EscapeLines("a\x1b\nb\r\n"), "a\\x1b\nb\\r\n"; got != want {
		t.Errorf("EscapeLines = %q, want %q", got, want)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[2J\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := terminal.Escape(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("Escape(%q) = %q, which a terminal may obey", s, got)
		}
		if again := terminal.Escape(got); again != got {
			t.Errorf("Escape(Escape(%q)) = %q, want %q", s, again, got)
		}
	})
}
