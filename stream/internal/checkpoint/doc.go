// Package checkpoint keeps how far each partition is committed: it reads and writes the
// checkpoints, compares them with the updates stream, which may be another one by now,
// and reads what is stored of updates behind them.
package checkpoint
