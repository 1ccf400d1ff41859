package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// The headers of a delivery.
const (
	SourceHeader = "Presence-Source" // a Source
	ReplayHeader = "Presence-Replay" // "1" on a delivery that send_online_presence asked for
)

// Source says which stored updates a delivery was made of.
type Source struct {
	Partition   int
	First, Last uint64 // sequences in the updates stream, both included
}

// String returns the value of SourceHeader: <partition>/<first>-<last>.
func (s Source) String() string {
	dst := strconv.AppendInt(make([]byte, 0, 32), int64(s.Partition), 10)
	dst = strconv.AppendUint(append(dst, '/'), s.First, 10)
	return string(strconv.AppendUint(append(dst, '-'), s.Last, 10))
}

// ParseSource returns the Source that String wrote.
func ParseSource(value string) (Source, error) {
	number, sequences, _ := strings.Cut(value, "/")
	partition, ok := parseIndex(number)
	from, to, _ := strings.Cut(sequences, "-")
	first, firstErr := strconv.ParseUint(from, 10, 64)
	last, lastErr := strconv.ParseUint(to, 10, 64)
	if !ok || firstErr != nil || lastErr != nil || first > last {
		return Source{}, fmt.Errorf("%s is %s, want <partition>/<first>-<last>", SourceHeader, quoteShort(value))
	}
	return Source{Partition: partition, First: first, Last: last}, nil
}

// TraceHeader carries the W3C trace context from updates to deliveries.
const TraceHeader = "traceparent"

// HeaderRoom is what the headers of a message may take of the server's maximum
// payload.
const HeaderRoom = 4 << 10
