package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const code = `package tried

// Sum returns the sum of the positive numbers, at most most.
func Sum(numbers []int, most int) int {
	sum := 0
	for _, n := range numbers {
		if n > 0 {
			sum += n
		}
	}
	return min(sum, most)
}
`

const weakTest = `package tried_test

import (
	"testing"
	"tried"
)

func TestSum(t *testing.T) {
	if got := tried.Sum([]int{1, -2, 3}, 10); got != 4 {
		t.Errorf("Sum = %d, want 4", got)
	}
}
`

const boundTest = `package tried_test

import (
	"testing"
	"tried"
)

func TestSumIsBounded(t *testing.T) {
	if got := tried.Sum([]int{7, 8}, 10); got != 10 {
		t.Errorf("Sum = %d, want 10", got)
	}
}
`

func TestMutants(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "mutants")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil { //nolint:gosec // The folder is the test's.
		t.Fatalf("build: %v\n%s", err, output)
	}
	const lives = "sum.go Sum: n > 0 -> n >= 0"
	tests := []struct {
		name   string
		code   string // "" for the one above
		tests  []string
		listed string
		args   []string
		ok     bool
		want   string // in the output
	}{
		{name: "a test is missing", tests: []string{weakTest}, want: "lives: " + lives},
		{name: "few are enough", tests: []string{weakTest}, args: []string{"-least", "50"}, ok: true, want: lives},
		{name: "more than there are", tests: []string{weakTest}, args: []string{"-least", "90"}, want: lives},
		{name: "one is equivalent", tests: []string{weakTest, boundTest}, listed: lives + " // zero adds nothing", ok: true, want: "1 equivalent, 0 live: 100.0 %"},
		{name: "one that is found is listed", tests: []string{weakTest, boundTest}, listed: lives + " // zero\nsum.go Sum: sum += n ->  // no", ok: true, want: "1 equivalent, 0 live"},
		{name: "what is no mutant is listed", tests: []string{weakTest, boundTest}, listed: lives + " // zero\nsum.go Sum: n > 1 -> n >= 1 // no", want: "lists what is no mutant: sum.go Sum: n > 1 -> n >= 1"},
		{name: "another file", tests: []string{weakTest}, args: []string{"-only", "other"}, ok: true, want: "0 mutants"},
		{name: "another test", tests: []string{weakTest, boundTest}, args: []string{"-run", "Bounded"}, want: "lives: " + lives},
		{name: "a reason is missing", tests: []string{weakTest}, listed: lives, want: "line 1: no reason"},
		{name: "the tests fail", code: strings.Replace(code, "n > 0", "n < 0", 1), tests: []string{weakTest}, want: "the tests fail without a mutant"},
		{
			name: "a test never ends", code: strings.Replace(code, "sum := 0", "sum, turn := 0, 0\n\tfor turn < 3 {\n\t\tturn++\n\t}", 1), tests: []string{weakTest, boundTest},
			listed: lives + " // zero adds nothing\nsum.go Sum: turn < 3 -> turn <= 3 // nobody counts\nsum.go Sum: turn < 3 -> turn >= 3 // nobody counts", ok: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			put := func(name, text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			put("go.mod", "module tried\n\ngo 1.26\n")
			put("equivalent.txt", tt.listed)
			put("sum.go", code)
			if tt.code != "" {
				put("sum.go", tt.code)
			}
			for i, text := range tt.tests {
				put([]string{"weak_test.go", "bound_test.go"}[i], text)
			}
			command := exec.CommandContext(t.Context(), binary, append(append([]string{"-equivalent", "equivalent.txt"}, tt.args...), ".")...) //nolint:gosec // We built it.
			command.Dir = dir
			output, err := command.CombinedOutput()
			if (err == nil) != tt.ok || !strings.Contains(string(output), tt.want) {
				t.Errorf("mutants ended with %v and says\n%s\nwant %q, and no error: %t", err, output, tt.want, tt.ok)
			}
		})
	}
}
