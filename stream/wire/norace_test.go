//go:build !race

package wire_test

// raceDetector tells that allocations count differently.
const raceDetector = false
