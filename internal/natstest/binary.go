package natstest

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

const serverPackage = "github.com/nats-io/nats-server/v2"

// BuildBinary builds the nats-server of the version in go.mod into dir and returns
// its path. The working directory is to be inside the module, as it is in a test.
func BuildBinary(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "nats-server")
	command := exec.CommandContext(ctx, "go", "build", "-o", binary, serverPackage) //nolint:gosec // Only the path is not constant.
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nats-server: %w: %s", err, output)
	}
	return binary, nil
}
