//go:build planted_outcome_unread

package stream

const planted = outcomeUnread
