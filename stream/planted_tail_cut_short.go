//go:build planted_tail_cut_short

package stream

const planted = tailCutShort
