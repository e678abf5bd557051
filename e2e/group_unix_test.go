//go:build unix

package e2e_test

import (
	"os/exec"
	"syscall"
)

// inGroup gives the program a process group, so that all that it starts ends with it.
func inGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(pid int) { syscall.Kill(-pid, syscall.SIGKILL) }

// interruptGroup does what Ctrl-C does.
func interruptGroup(pid int) { syscall.Kill(-pid, syscall.SIGINT) }
