// Package demo shows the router at work on one machine: an embedded server, a
// worker and a capture of presence updates.
package demo
