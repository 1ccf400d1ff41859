//go:build race

package static_test

// raceDetector tells that allocations count differently.
const raceDetector = true
