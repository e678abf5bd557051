//go:build unix

package e2e_test

import (
	"os/exec"
	"syscall"
)

// inGroup gives the program a process group, so that what it starts ends with it.
func inGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
