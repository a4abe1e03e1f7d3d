package e2e_test

import "syscall"

// dieWithParent has the kernel kill the program when the test binary dies without cleaning up.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
