//go:build planted_unit_overtakes

package stream

const planted = unitOvertakes
