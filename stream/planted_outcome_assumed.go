//go:build planted_outcome_assumed

package stream

const planted = outcomeAssumed
