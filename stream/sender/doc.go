// Package sender is the kit for senders to other homeservers: it reads deliveries,
// keeps the newest state per user and destination, and hands them over as contents of
// m.presence EDUs, one batch in flight per destination, until each was sent.
package sender
