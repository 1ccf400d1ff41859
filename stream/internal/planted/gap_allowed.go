//go:build planted_gap_allowed

package planted

// Mistake is the one that this build makes.
const Mistake = GapAllowed
