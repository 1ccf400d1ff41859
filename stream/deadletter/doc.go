// Package deadletter lists, publishes again and purges the updates that could not be
// routed.
package deadletter
