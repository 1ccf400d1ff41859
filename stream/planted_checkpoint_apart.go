//go:build planted_checkpoint_apart

package stream

const planted = checkpointApart
