// Package commit commits what is routed, once: the deliveries and dead letters of a unit
// together with the checkpoint that says they are done, by fast ingest or in atomic
// batches. It knows where each partition of the worker stands.
package commit
