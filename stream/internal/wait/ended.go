package wait

import "context"

// Ended reports whether ctx has ended.
func Ended(ctx context.Context) bool { return ctx.Err() != nil }
