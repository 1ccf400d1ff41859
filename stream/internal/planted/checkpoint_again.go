//go:build planted_checkpoint_again

package planted

// Mistake is the one that this build makes.
const Mistake = CheckpointAgain
