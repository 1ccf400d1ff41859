//go:build planted_tail_cut_short

package planted

// Mistake is the one that this build makes.
const Mistake = TailCutShort
