// Package stream is the NATS side of the presence router: the streams and their
// settings, reading updates by partition, and committing deliveries with the
// position they were made from, exactly once and in order.
package stream
