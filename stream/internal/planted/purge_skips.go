//go:build planted_purge_skips

package planted

// Mistake is the one that this build makes.
const Mistake = PurgeSkips
