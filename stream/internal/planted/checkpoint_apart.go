//go:build planted_checkpoint_apart

package planted

// Mistake is the one that this build makes.
const Mistake = CheckpointApart
