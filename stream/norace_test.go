//go:build !race

package stream_test

// raceDetector tells that allocations count differently.
const raceDetector = false
