//go:build planted_rest_too_short

package stream

const planted = restTooShort
