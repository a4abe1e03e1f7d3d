//go:build !linux

package broker

import "syscall"

func limitUnsent(syscall.RawConn) {}

func unacknowledged(syscall.RawConn) int { return -1 }
