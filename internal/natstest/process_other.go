//go:build !linux

package natstest

import "syscall"

// dieWithParent has no counterpart here: a test binary that is killed leaves its
// servers running.
func dieWithParent() *syscall.SysProcAttr { return nil }
