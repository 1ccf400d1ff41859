package stream //nolint:testpackage // Exports the committer's client to the benchmark.

import (
	"context"
	"crypto/rand"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
)

// OwnCommitter returns a function that commits one batch of deliveries and
// a checkpoint with the committer's own client.
func OwnCommitter(nc *nats.Conn, name string, deliveries int, data []byte) func(context.Context) error {
	checkpoint, attempts, revision := "checkpoint."+rand.Text(), 0, uint64(0)
	return func(ctx context.Context) error {
		attempts++
		messages := make([]batchpublish.Message, 0, deliveries)
		for i := range deliveries {
			messages = append(messages, batchpublish.Message{
				Subject: "deliver.local.7.example%2Ecom.reader" + strconv.Itoa(i), Data: data, Source: "7/1-256",
			})
		}
		batch := batchpublish.NewAtomic(nc, name, checkpoint+"-"+strconv.Itoa(attempts))
		batch.Add(messages)
		result := <-batch.Commit(ctx, []batchpublish.Fenced{{Subject: checkpoint, Data: data, Revision: revision}})
		revision = result.Last
		return result.Err
	}
}

// OwnGetter returns a function that reads the last messages of subjects with the
// query service's own client, and returns how many there are.
func OwnGetter(nc *nats.Conn, name string, subjects []string) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		found := 0
		for batch, err := range (jsapi.Direct{NC: nc, Stream: name}).Batches(ctx, jsapi.LastFor(subjects...)) {
			if err != nil {
				return found, err
			}
			found += len(batch)
		}
		return found, nil
	}
}
