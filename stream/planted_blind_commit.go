//go:build planted_blind_commit

package stream

const planted = blindCommit
