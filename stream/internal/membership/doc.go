// Package membership shares the partitions of a deployment with the other workers: it
// says in heartbeats which ones this worker has, hears the same of the others, and takes
// and gives up partitions until every worker has its share.
package membership
