// Package dendrite follows the presence that a Dendrite publishes on its NATS, and
// publishes it as updates.
package dendrite
