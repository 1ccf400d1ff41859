// Package batchpublish publishes batches of messages that the server stores together:
// atomic batches and batches of fast ingest (NATS ADR-50).
package batchpublish
