// Package diagnosis finds out what is wrong with the NATS servers and the streams of a
// deployment, and explains errors by it.
package diagnosis
