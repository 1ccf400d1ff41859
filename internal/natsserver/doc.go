// Package natsserver runs a nats-server with JetStream inside the process, for
// the demo and for tests.
package natsserver
