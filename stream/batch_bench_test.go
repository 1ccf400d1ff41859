package stream_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream"
)

// BenchmarkAtomicBatch compares the client of the committer with the one of
// jetstreamext: batches of 999 deliveries and a checkpoint, into memory, so that
// the server's share is the smallest. One operation is one batch.
func BenchmarkAtomicBatch(b *testing.B) {
	const deliveries = 999
	js := benchStream(b)
	data := make([]byte, 256)
	b.Run("client=own", func(b *testing.B) {
		commit := stream.OwnCommitter(js.Conn(), "DELIVERIES", deliveries, data)
		b.ReportAllocs()
		for b.Loop() {
			if err := commit(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("client=jetstreamext", func(b *testing.B) {
		commit := extensionCommitter(js, deliveries, data)
		b.ReportAllocs()
		for b.Loop() {
			if err := commit(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchStream(b *testing.B) jetstream.JetStream {
	b.Helper()
	js := natstest.JetStream(b, natstest.Connect(b, natstest.Run(b).URL()))
	_, err := js.CreateStream(b.Context(), jetstream.StreamConfig{
		Name: "DELIVERIES", Subjects: []string{"deliver.>", "checkpoint.*"}, Storage: jetstream.MemoryStorage,
		AllowRollup: true, AllowMsgTTL: true, AllowAtomicPublish: true, MaxMsgs: 100_000,
	})
	if err != nil {
		b.Fatal(err)
	}
	return js
}

func extensionCommitter(js jetstream.JetStream, deliveries int, data []byte) func(context.Context) error {
	return func(ctx context.Context) error {
		batch, err := jetstreamext.NewBatchPublisher(js)
		if err != nil {
			return err
		}
		for i := range deliveries {
			m := &nats.Msg{
				Subject: "deliver.local.7.example%2Ecom.reader" + strconv.Itoa(i), Data: data,
				Header: nats.Header{"Presence-Source": {"7/1-256"}},
			}
			if err := batch.AddMsg(m); err != nil {
				return fmt.Errorf("add message %d: %w", i, err)
			}
		}
		_, err = batch.CommitMsg(ctx, &nats.Msg{
			Subject: "checkpoint.1", Data: data,
			Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}, jetstream.MsgTTLHeader: {"never"}},
		})
		return err
	}
}
