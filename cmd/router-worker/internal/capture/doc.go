// Package capture reads captures of presence updates, one JSON object a line, and
// publishes them.
package capture
