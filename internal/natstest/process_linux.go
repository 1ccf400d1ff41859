package natstest

import "syscall"

// dieWithParent has the kernel kill the process when the test binary ends without
// cleaning up, as after a timeout of go test.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
