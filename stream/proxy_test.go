package stream_test

import (
	"bytes"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
)

type verdict = natstest.Verdict

const (
	pass    = natstest.Pass
	swallow = natstest.Swallow
	cut     = natstest.Cut
	sever   = natstest.Sever
)

// proxy is a natstest.Proxy with names that are short in tables.
type proxy struct {
	natstest.Proxy

	fromClient, fromServer func(frame []byte) ([]byte, verdict)
}

// startProxy listens for the length of the test and returns the URL to connect to.
func startProxy(t *testing.T, target string, p *proxy) string {
	t.Helper()
	p.FromClient, p.FromServer = p.fromClient, p.fromServer
	return p.Start(t, target)
}

// isCommit reports whether a frame of a client ends a batch.
func isCommit(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("HPUB ")) &&
		(bytes.Contains(frame, []byte("Nats-Batch-Commit: 1")) || bytes.Contains(frame, []byte(".2.$FI ")))
}

// isBatchMessage reports whether frame is a message of a batch that another follows.
func isBatchMessage(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("HPUB ")) && !isCommit(frame) &&
		(bytes.Contains(frame, []byte("Nats-Batch-Sequence: ")) || bytes.Contains(frame, []byte(".$FI ")))
}

// isCommitAnswer reports whether a frame of the server acknowledges a batch.
func isCommitAnswer(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("MSG ")) && bytes.Contains(frame, []byte(`"batch":`)) && bytes.Contains(frame, []byte(`"count":`))
}

// isAnswer reports whether a frame of the server acknowledges a single message.
func isAnswer(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("MSG ")) && bytes.Contains(frame, []byte(`{"stream":"PRESENCE_DELIVERIES","seq":`)) &&
		!isCommitAnswer(frame)
}

// isUpdate reports whether a frame of the server hands an update out.
func isUpdate(frame []byte) bool {
	return (bytes.HasPrefix(frame, []byte("MSG presence.update.")) || bytes.HasPrefix(frame, []byte("HMSG presence.update."))) &&
		bytes.Contains(frame, []byte("$JS.ACK."))
}
