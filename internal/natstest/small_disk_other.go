//go:build !linux

package natstest

import "testing"

// SmallDisk has no counterpart here.
type SmallDisk struct{}

// NewSmallDisk skips the test, and says so: file systems of tests need the mount
// namespaces of Linux.
func NewSmallDisk(tb testing.TB, _ int64) *SmallDisk {
	tb.Helper()
	tb.Skip("NOT TESTED: a disk that is full needs mount namespaces, which Linux has")
	return nil
}

// Dir returns nothing.
func (*SmallDisk) Dir() string { return "" }

// Fill does nothing.
func (*SmallDisk) Fill() error { return nil }

// Free does nothing.
func (*SmallDisk) Free() error { return nil }
