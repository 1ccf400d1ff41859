//go:build race

package routing_test

// raceDetector tells that allocations count differently.
const raceDetector = true
