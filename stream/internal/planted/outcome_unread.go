//go:build planted_outcome_unread

package planted

// Mistake is the one that this build makes.
const Mistake = OutcomeUnread
