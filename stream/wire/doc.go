// Package wire translates between bytes and presence: updates, deliveries, dead
// letters, checkpoints, and the subjects they travel on. It does no input or
// output.
package wire
