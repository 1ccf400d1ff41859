//go:build !planted_blind_commit && !planted_checkpoint_apart && !planted_checkpoint_again && !planted_outcome_unread

package stream

const planted = noMistake
