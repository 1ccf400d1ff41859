// Package wait is how workers and senders wait: the pauses between tries, and what is
// logged meanwhile.
package wait
