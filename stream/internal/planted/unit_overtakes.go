//go:build planted_unit_overtakes

package planted

// Mistake is the one that this build makes.
const Mistake = UnitOvertakes
