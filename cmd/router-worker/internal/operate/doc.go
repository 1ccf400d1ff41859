// Package operate runs a worker as a process: its log, telemetry, HTTP server and
// connection.
package operate
