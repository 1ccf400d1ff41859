//go:build planted_gap_allowed

package stream

const planted = gapAllowed
