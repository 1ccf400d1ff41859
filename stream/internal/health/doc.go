// Package health watches over the work of a worker: whether its partitions come further,
// how much they have left to do and what they lost, what is wrong with the servers and
// the streams, and whether the streams are as configured.
package health
