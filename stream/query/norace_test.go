//go:build !race

package query_test

// raceDetector tells that allocations count differently.
const raceDetector = false
