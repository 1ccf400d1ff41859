//go:build !planted_blind_commit && !planted_checkpoint_apart && !planted_checkpoint_again && !planted_outcome_unread && !planted_gap_allowed && !planted_batch_left_open && !planted_outcome_assumed && !planted_tail_cut_short && !planted_rest_too_short && !planted_unit_overtakes && !planted_purge_skips

package planted

// Mistake is the one that this build makes.
const Mistake = Nothing
