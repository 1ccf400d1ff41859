//go:build planted_batch_left_open

package planted

// Mistake is the one that this build makes.
const Mistake = BatchLeftOpen
