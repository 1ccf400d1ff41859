// Package wait is how everything below stream waits for NATS: the pauses between tries,
// and what is logged meanwhile.
package wait
