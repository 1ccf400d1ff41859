//go:build planted_rest_too_short

package planted

// Mistake is the one that this build makes.
const Mistake = RestTooShort
