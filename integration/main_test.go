package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
)

// binaries holds the programs under test, built once for all tests.
var binaries struct { //nolint:gochecknoglobals // Set once by TestMain, before any test runs.
	natsServer string
	worker     string
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv(labour) != "" || os.Getenv(testimony) != "" {
		return labourUntilStopped()
	}
	dir, err := os.MkdirTemp("", "presence-router-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return natstest.Main(m)
}

func build(ctx context.Context, dir string) (err error) {
	if binaries.natsServer, err = natstest.BuildBinary(ctx, dir); err != nil {
		return err
	}
	binaries.worker = filepath.Join(dir, "router-worker")
	command := exec.CommandContext(ctx, "go", "build", "-o", binaries.worker, "../cmd/router-worker") //nolint:gosec // The path is our own.
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build router-worker: %w\n%s", err, output)
	}
	return nil
}
