package jsapi_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	answer := func(status int, code jetstream.ErrorCode) error {
		return fmt.Errorf("publish: %w", &jetstream.APIError{Code: status, ErrorCode: code})
	}
	for name, c := range map[string]struct {
		err  error
		want jsapi.Verdict
	}{
		"no answer in time":       {context.DeadlineExceeded, jsapi.Undecided},
		"nobody there":            {nats.ErrNoResponders, jsapi.Undecided},
		"another sequence":        {answer(400, 10071), jsapi.Refused},
		"another sequence, older": {answer(400, 10164), jsapi.Refused},
		"stream full":             {answer(503, 10077), jsapi.Full},
		"no disk":                 {answer(500, 10047), jsapi.NoRoom},
		"no memory":               {answer(500, 10028), jsapi.NoRoom},
		"no leader":               {answer(503, 10008), jsapi.Leaderless},
		"servers away":            {answer(500, 10118), jsapi.Offline},
		"batch not open":          {answer(400, 10208), jsapi.UnknownBatch},
		"no fast ingest":          {answer(400, 10205), jsapi.FastDisabled},
		"request at fault":        {answer(400, 10052), jsapi.Final},
		"stream not found":        {answer(404, 10059), jsapi.Passing},
		"too many requests":       {answer(429, 10167), jsapi.Passing},
		"credentials refused":     {fmt.Errorf("connect: %w", nats.ErrAuthorization), jsapi.Denied},
		"credentials joined":      {errors.Join(nats.ErrAuthExpired, answer(503, 10008)), jsapi.Denied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := jsapi.Classify(c.err); got != c.want {
				t.Errorf("Classify(%v) = %d, want %d", c.err, got, c.want)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	open := []jsapi.Verdict{jsapi.Undecided, jsapi.Denied}
	final := []jsapi.Verdict{jsapi.UnknownBatch, jsapi.FastDisabled, jsapi.Denied, jsapi.Final}
	for v := jsapi.Undecided; v <= jsapi.Passing; v++ {
		if got, want := v.IsOpen(), slices.Contains(open, v); got != want {
			t.Errorf("Verdict(%d).IsOpen() = %t, want %t", v, got, want)
		}
		if got, want := v.IsFinal(), slices.Contains(final, v); got != want {
			t.Errorf("Verdict(%d).IsFinal() = %t, want %t", v, got, want)
		}
	}
}
