// Package integration holds the journeys, fault tests and benchmarks that run
// the real programs: the router-worker binary and nats-server processes. Check
// judges what they left behind.
package integration
