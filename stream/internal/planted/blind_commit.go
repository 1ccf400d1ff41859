//go:build planted_blind_commit

package planted

// Mistake is the one that this build makes.
const Mistake = BlindCommit
