//go:build planted_checkpoint_again

package stream

const planted = checkpointAgain
