package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

func repartitions() nemesis { return nemesis{"change the number of partitions", layouts, repartition} }

// repartition changes the number of partitions. The command may be killed, and fail
// where servers and workers do: run again until it works out, it goes on.
func repartition(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	n := strconv.Itoa(oneOf(numbers, 8, partitions, 24))
	if numbers.IntN(2) == 0 {
		command := f.repartition(n)
		after(ctx, upTo(numbers, 2*time.Second))
		command.kill()
	}
	var command *workerProcess
	err := retry(ctx, fleetTimeout, func(context.Context) error {
		command = f.repartition(n)
		select {
		case <-command.exited:
		case <-time.After(fleetTimeout):
			command.dump()
		}
		if code := command.cmd.ProcessState.ExitCode(); code != 0 {
			return fmt.Errorf("topology repartition %s ended with exit code %d, and the words %q", n, code, command.log)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("change the number of partitions: %w", err)
	}
	return nil
}

// repartition starts the command, which knows every server. A server whose disk is full
// uses a layout that it cannot write down, and stores later updates in the old one when
// it is started again: what is then overtaken cannot be delivered in order, so the disk
// is full before or after that moment.
func (f *fleet) repartition(n string) *workerProcess {
	f.t.Helper()
	f.switching.Lock()
	defer f.switching.Unlock()
	command := startProcess(f.t, binaries.worker, "topology", nil, "topology", "repartition", n, "--wait", "10s", "--nats", f.cluster.URL())
	if f.disk != nil {
		_ = command.logged("waiting until workers have committed", fleetTimeout) // One that fails, or has nothing to do, does not come to that.
	}
	return command
}
