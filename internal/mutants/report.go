package main

import (
	"fmt"
	"iter"
	"os"
	"strings"
	"time"
)

// report tells what became of the mutants of a package, and how many percent of those
// that tests can find they found.
func report(name string, mutants []*mutant, known known, took time.Duration) (text string, percent float64) {
	var b strings.Builder
	lives, excused := 0, 0
	for _, m := range mutants {
		switch {
		case !m.lives:
		case known.excuses(m):
			excused++
		default:
			lives++
			fmt.Fprintf(&b, "%s:%d: lives: %s\n", m.file, m.line, m.key())
		}
	}
	percent = 100 * (1 - float64(lives)/float64(max(1, len(mutants)-excused)))
	fmt.Fprintf(&b, "%s: %d mutants, %d equivalent, %d live: %.1f %% found by tests (%v)\n",
		name, len(mutants), excused, lives, percent, took.Round(time.Second))
	return b.String(), percent
}

// known is mutants that change nothing a test can see, by key.
type known map[string]bool

// readKnown reads a file of lines "file function: from -> to // reason". Without a name
// there are none.
func readKnown(name string) (known, error) {
	k := make(known)
	if name == "" {
		return k, nil
	}
	text, err := os.ReadFile(name) //nolint:gosec // Who runs this names the file.
	if err != nil {
		return nil, err
	}
	for n, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " // ")
		if at < 0 {
			return nil, fmt.Errorf("%s, line %d: no reason in %q", name, n+1, line)
		}
		k[strings.TrimSpace(line[:at])] = true
	}
	return k, nil
}

func (k known) excuses(m *mutant) bool { return k[strings.TrimSpace(m.key())] }

// gone yields what is listed of the packages and is no mutant of them. One that a test
// found may be so because the machine is busy.
func (k known) gone(packages []*pack) iter.Seq[string] {
	return func(yield func(string) bool) {
		files, mutants := make(map[string]bool), make(map[string]bool)
		for _, p := range packages {
			for _, f := range p.files {
				files[f.name] = true
			}
			for _, m := range p.mutants {
				mutants[strings.TrimSpace(m.key())] = true
			}
		}
		for key := range k {
			file, _, _ := strings.Cut(key, " ")
			if files[file] && !mutants[key] && !yield(key) {
				return
			}
		}
	}
}
