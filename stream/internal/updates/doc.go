// Package updates reads the updates of one partition, in order and without a gap.
package updates
