package wire

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// DeadLetter is an update that could not be routed, and why.
type DeadLetter struct {
	Reason    Reason              `json:"reason"`
	Error     string              `json:"error"`
	Router    string              `json:"router"`  // the router that failed, "" where none did
	Subject   string              `json:"subject"` // as published
	Sequence  uint64              `json:"sequence"`
	Time      time.Time           `json:"time"` // when the update was stored; written with milliseconds
	Headers   map[string][]string `json:"headers"`
	Payload   []byte              `json:"payload"`
	Truncated bool                `json:"truncated,omitempty"` // something was cut off to make the letter fit
}

// timeFormat is RFC 3339 with milliseconds, for times in UTC.
const timeFormat = "2006-01-02T15:04:05.000Z"

// MarshalJSON returns the whole letter.
func (d DeadLetter) MarshalJSON() ([]byte, error) { return d.Encode(math.MaxInt), nil }

// Encode returns the letter as JSON of at most maxBytes. Where it is larger, it
// is marked as truncated, headers that together have more than a quarter of the
// room are left out, and the payload is cut off, in that order; then the error,
// the subject and the router, which takes a maxBytes below 1 KiB or very long
// names. A maxBytes below 256 cannot be kept to.
func (d DeadLetter) Encode(maxBytes int) []byte {
	if len(d.Payload) <= maxBytes {
		if data := d.encode(); len(data) <= maxBytes {
			return data
		}
	}
	return d.truncated(maxBytes).encode()
}

func (d DeadLetter) encode() []byte {
	dst := appendText([]byte(`{"reason":`), string(d.Reason))
	dst = appendText(append(dst, `,"error":`...), d.Error)
	dst = appendText(append(dst, `,"router":`...), d.Router)
	dst = appendText(append(dst, `,"subject":`...), d.Subject)
	dst = strconv.AppendUint(append(dst, `,"sequence":`...), d.Sequence, 10)
	dst = d.Time.UTC().AppendFormat(append(dst, `,"time":"`...), timeFormat)
	dst = appendHeaders(append(dst, `","headers":`...), d.Headers)
	dst = base64.StdEncoding.AppendEncode(append(dst, `,"payload":"`...), d.Payload)
	dst = append(dst, '"')
	if d.Truncated {
		dst = append(dst, `,"truncated":true`...)
	}
	return append(dst, '}')
}

func appendHeaders(dst []byte, headers map[string][]string) []byte {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(headers)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendHeader(dst, name, headers[name])
	}
	return append(dst, '}')
}

func appendHeader(dst []byte, name string, values []string) []byte {
	dst = append(appendText(dst, name), ':', '[')
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, value)
	}
	return append(dst, ']')
}

// truncated returns as much of the letter as fits into maxBytes.
func (d DeadLetter) truncated(maxBytes int) DeadLetter {
	headers, payload := d.Headers, d.Payload
	d.Headers, d.Payload, d.Truncated = nil, nil, true
	d.shortenTexts(maxBytes)
	room := maxBytes - len(d.encode())
	d.Headers = fittingHeaders(headers, room/4)
	room = maxBytes - len(d.encode())
	d.Payload = payload[:min(len(payload), max(0, room/4*3))]
	return d
}

// shortenTexts halves the error, then the subject, then the router, until the
// letter fits.
func (d *DeadLetter) shortenTexts(maxBytes int) {
	for _, text := range []*string{&d.Error, &d.Subject, &d.Router} {
		for *text != "" && len(d.encode()) > maxBytes {
			*text = (*text)[:len(*text)/2]
		}
	}
}

// fittingHeaders returns those of the headers that have room, by name.
func fittingHeaders(headers map[string][]string, room int) map[string][]string {
	fitting := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		size := len(appendHeader(nil, name, headers[name])) + len(",")
		if size <= room {
			fitting[name] = headers[name]
			room -= size
		}
	}
	return fitting
}

// DecodeDeadLetter returns the letter that Encode wrote. Unknown fields are passed
// over.
func DecodeDeadLetter(data []byte) (DeadLetter, error) {
	var d DeadLetter
	if err := json.Unmarshal(data, &d); err != nil {
		return DeadLetter{}, fmt.Errorf("decode dead letter: %w", err)
	}
	if d.Reason == "" {
		return DeadLetter{}, errors.New("decode dead letter: reason is missing")
	}
	return d, nil
}
