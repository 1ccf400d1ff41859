//go:build planted_outcome_assumed

package planted

// Mistake is the one that this build makes.
const Mistake = OutcomeAssumed
