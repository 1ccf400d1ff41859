package natstest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

const fillChunk = 64 << 10 // bytes that Fill writes at once

// SmallDisk is a file system of a few megabytes, in memory, that can be full. It is
// mounted in a mount namespace of a process of its own, which takes no privileges
// where the kernel allows user namespaces, and reached over that process.
type SmallDisk struct {
	dir    string // as this process reaches it
	filler string
}

// NewSmallDisk returns a disk of size bytes that is gone when the test ends. A
// machine that does not allow user namespaces fails the test.
func NewSmallDisk(tb testing.TB, size int64) *SmallDisk {
	tb.Helper()
	at := tb.TempDir()
	const script = `mount -t tmpfs -o size="$1",mode=700 tmpfs "$2" && echo mounted && exec cat`
	cmd := exec.Command("sh", "-c", script, "sh", strconv.FormatInt(size, 10), at) //nolint:gosec,noctx // The process outlives the call that starts it.
	cmd.SysProcAttr = dieWithParent()
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	cmd.Stderr = os.Stderr
	if err := holdMounted(tb, cmd); err != nil {
		tb.Fatalf("mount a disk of %d bytes in a user namespace of its own, which this machine has to allow (kernel.unprivileged_userns_clone, user.max_user_namespaces): %v", size, err)
	}
	dir := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "root", at)
	return &SmallDisk{dir: dir, filler: filepath.Join(dir, "filler")}
}

// holdMounted starts the process that holds the mount until the test ends, and
// returns once it has mounted.
func holdMounted(tb testing.TB, cmd *exec.Cmd) error {
	tb.Helper()
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	tb.Cleanup(func() {
		if err := errors.Join(input.Close(), cmd.Wait()); err != nil {
			tb.Errorf("unmount a disk: %v", err)
		}
	})
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		return fmt.Errorf("it said %q: %w", line, err)
	}
	return nil
}

// Dir returns the directory of the disk, for this process and the ones it starts.
func (d *SmallDisk) Dir() string { return d.dir }

// Fill takes all the room that is left.
func (d *SmallDisk) Fill() error {
	file, err := os.OpenFile(d.filler, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("fill a disk: %w", err)
	}
	defer file.Close() //nolint:errcheck // What does not fit is the aim.
	chunk := make([]byte, fillChunk)
	for err == nil {
		_, err = file.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill a disk: %w", err)
	}
	return nil
}

// Free gives back what Fill took.
func (d *SmallDisk) Free() error {
	if err := os.Remove(d.filler); err != nil {
		return fmt.Errorf("free a disk: %w", err)
	}
	return nil
}
