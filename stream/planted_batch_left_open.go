//go:build planted_batch_left_open

package stream

const planted = batchLeftOpen
