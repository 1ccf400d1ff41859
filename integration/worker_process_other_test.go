//go:build !linux

package integration_test

import (
	"syscall"
	"time"
)

// dieWithParent has no counterpart here: a test binary that is killed leaves its
// processes running.
func dieWithParent() *syscall.SysProcAttr { return nil }

// cpu has no counterpart here and returns 0.
func (w *workerProcess) cpu() time.Duration { return 0 }

// peakMemory has no counterpart here and returns 0.
func (w *workerProcess) peakMemory() int { return 0 }
