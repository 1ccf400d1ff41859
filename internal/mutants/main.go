package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) //nolint:forbidigo // It begins here.
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	only := flags.String("only", "", "files to change, as a pattern of their names")
	tests := flags.String("run", "", "tests to run, as a pattern")
	skip := flags.String("skip", "", "tests to leave out: those that count what the changes add to all code, such as allocations")
	equivalent := flags.String("equivalent", "", "file that lists mutants that no test can find")
	least := flags.Float64("least", 100, "percent of the mutants of each package that tests must find")
	workers := flags.Int("workers", 0, "mutants to test at a time, 0 for as many as there are processors")
	if err := flags.Parse(args); err != nil {
		return err
	}
	known, err := readKnown(*equivalent)
	if err != nil {
		return err
	}
	files, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	packages, err := load(ctx, files, flags.Args())
	if err != nil {
		return err
	}
	bad := false
	for _, p := range packages {
		began := time.Now()
		mutants, err := p.test(ctx, *workers, "-test.run", *tests, "-test.skip", *skip)
		if err != nil {
			return fmt.Errorf("%s: %w", p.ImportPath, err)
		}
		text, percent := report(p.ImportPath, mutants, known, time.Since(began))
		bad = bad || percent < *least
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
	}
	for key := range known.gone(packages) {
		bad = true
		if _, err := fmt.Fprintf(out, "%s lists what is no mutant: %s\n", *equivalent, key); err != nil {
			return err
		}
	}
	if bad {
		return errors.New("tests are missing: write them, or have the code say the same in a way that cannot be changed unnoticed")
	}
	return nil
}
