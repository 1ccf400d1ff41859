package jsapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Backlog is what a partition has left to do.
type Backlog struct {
	Messages uint64
	Oldest   time.Time // when the oldest of them was stored, zero for none
}

// backlogRequest is the body of a direct get that also counts (NATS ADR-31).
type backlogRequest struct {
	MessageRequest

	Batch int `json:"batch"` // 1: the answer is the first message, and how many follow
}

// ReadBacklog counts the messages of a stream that from asks for: a sequence or a
// time, and a subject. Any replica may answer, as of some moments ago.
func ReadBacklog(ctx context.Context, nc *nats.Conn, stream string, from MessageRequest) (Backlog, error) {
	body, err := json.Marshal(backlogRequest{MessageRequest: from, Batch: 1})
	if err != nil {
		return Backlog{}, fmt.Errorf("encode direct get: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	reply, err := nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream, body)
	if err != nil {
		return Backlog{}, fmt.Errorf("read stream %s: %w", stream, noStream(err))
	}
	found, err := decodeBacklog(reply.Header)
	if err != nil {
		return Backlog{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return found, nil
}

// The headers of an answer to a direct get.
const (
	statusHeader      = "Status"
	descriptionHeader = "Description"
	pendingHeader     = "Nats-Num-Pending" // messages behind the one of the answer
)

func decodeBacklog(header nats.Header) (Backlog, error) {
	const notFound = "404"
	switch status := header.Get(statusHeader); status {
	case "":
	case notFound:
		return Backlog{}, nil
	default:
		return Backlog{}, fmt.Errorf("the server answers %s %s", status, header.Get(descriptionHeader))
	}
	behind, err := strconv.ParseUint(header.Get(pendingHeader), 10, 64)
	if err != nil {
		return Backlog{}, fmt.Errorf("decode %s: %w", pendingHeader, err)
	}
	stored, err := time.Parse(time.RFC3339Nano, header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return Backlog{}, fmt.Errorf("decode %s: %w", jetstream.TimeStampHeaer, err)
	}
	return Backlog{Messages: behind + 1, Oldest: stored}, nil
}
