//go:build !linux

package bench

import "syscall"

// dieWithParent returns nothing: other systems do not end a process with its parent.
func dieWithParent() *syscall.SysProcAttr { return nil }
