package tests

import (
	"strconv"
	"syscall"
	"testing"
)

// brokerOfTheLoneTarget is the process of the only broker of a cluster that no other test uses. It goes on at the end in any case.
func brokerOfTheLoneTarget(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(given(t, "LONE_TARGET_PID"))
	must(t, err)
	if pid <= 1 {
		t.Fatalf("process %d is no broker", pid)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	return pid
}

func stop(t *testing.T, pid int) {
	t.Helper()
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
}

func resume(t *testing.T, pid int) {
	t.Helper()
	must(t, syscall.Kill(pid, syscall.SIGCONT))
}
