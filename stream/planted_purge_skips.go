//go:build planted_purge_skips

package stream

const planted = purgeSkips
