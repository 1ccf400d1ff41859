package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// chooser is the file that is added to a package.
const chooser = `package %s

import (
	"os"
	"strconv"
)

var ` + chosen + ` = func() int {
	number, _ := strconv.Atoi(os.Getenv("MUTANT"))
	return number
}()
`

// patience is what a test with a mutant may take longer than one without.
const (
	patience    = 5
	leastBudget = 5 * time.Second
)

// test finds out which mutants of p live while its tests run with args.
func (p *pack) test(ctx context.Context, workers int, args ...string) ([]*mutant, error) {
	if len(p.mutants) == 0 {
		return nil, nil
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // What is left is in the folder for what may go.
	t, err := p.compile(ctx, dir)
	if err != nil {
		return nil, err
	}
	t.args, t.budget = append([]string{"-test.failfast"}, args...), time.Hour
	began := time.Now()
	if output, ok := t.passes(ctx, 0); !ok {
		return nil, fmt.Errorf("the tests fail without a mutant: %s", output)
	}
	t.budget = leastBudget + patience*time.Since(began)
	t.all(ctx, workers, p.mutants)
	return p.mutants, ctx.Err()
}

// tester is the tests of a package with all mutants in it.
type tester struct {
	binary, dir string
	args        []string
	budget      time.Duration // for one run
}

func (p *pack) compile(ctx context.Context, dir string) (*tester, error) {
	replace := make(map[string]string)
	put := func(path string, code []byte) error {
		at := filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		replace[path] = at
		return os.WriteFile(at, code, 0o600)
	}
	for _, f := range p.files {
		if err := put(f.path, f.changed); err != nil {
			return nil, err
		}
	}
	if err := put(filepath.Join(p.Dir, "mutant_chosen.go"), fmt.Appendf(nil, chooser, p.name)); err != nil {
		return nil, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "tests")
	command := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, p.ImportPath) //nolint:gosec // The package is one of ours.
	command.Dir = p.Dir
	if output, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile with mutants: %w\n%s", err, output)
	}
	return &tester{binary: binary, dir: p.Dir}, nil
}

// all tests mutants, some at a time.
func (t *tester) all(ctx context.Context, workers int, mutants []*mutant) {
	if workers == 0 {
		workers = runtime.NumCPU()
	}
	var running sync.WaitGroup
	next := make(chan *mutant)
	for range workers {
		running.Go(func() {
			for m := range next {
				_, m.lives = t.passes(ctx, m.number)
			}
		})
	}
	for _, m := range mutants {
		if ctx.Err() != nil {
			break
		}
		next <- m
	}
	close(next)
	running.Wait()
}

// passes runs the tests with a mutant. One with which they come to no end is found, too.
func (t *tester) passes(ctx context.Context, number int) (output []byte, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, t.budget)
	defer cancel()
	command := exec.CommandContext(ctx, t.binary, t.args...)                                                                 //nolint:gosec // It is the tests that we compiled.
	command.Dir, command.Env = t.dir, append(os.Environ(), "MUTANT="+strconv.Itoa(number), "TMPDIR="+filepath.Dir(t.binary)) // Tests that are ended leave files behind.
	output, err := command.CombinedOutput()
	return output, err == nil || errors.Is(err, exec.ErrWaitDelay)
}
