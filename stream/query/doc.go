// Package query answers questions about who receives whose presence, and about the newest
// states, as a NATS micro service.
package query
