package federation

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// MaxEDUs is how many EDUs a transaction may have.
const MaxEDUs = 100

// EDU is an ephemeral data unit.
type EDU struct {
	Type    string          `json:"edu_type"`
	Content json.RawMessage `json:"content"`
}

// Transaction is what is sent in one request. One that is sent again with the same ID
// has to be the same.
type Transaction struct {
	ID          string
	Origin      presence.ServerName
	Destination presence.ServerName
	Time        time.Time
	EDUs        []EDU // at most MaxEDUs
}

func (t Transaction) path() string { return "/_matrix/federation/v1/send/" + url.PathEscape(t.ID) }

// body returns what is sent, in canonical JSON.
func (t Transaction) body() ([]byte, error) {
	if len(t.EDUs) > MaxEDUs {
		return nil, fmt.Errorf("encode transaction: %d EDUs, at most %d are allowed", len(t.EDUs), MaxEDUs)
	}
	encoded, err := json.Marshal(struct {
		Origin string     `json:"origin"`
		Time   int64      `json:"origin_server_ts"`
		PDUs   []struct{} `json:"pdus"`
		EDUs   []EDU      `json:"edus"`
	}{t.Origin.String(), t.Time.UnixMilli(), []struct{}{}, t.EDUs})
	if err != nil {
		return nil, fmt.Errorf("encode transaction: %w", err)
	}
	body, err := AppendCanonical(nil, encoded)
	if err != nil {
		return nil, fmt.Errorf("encode transaction: %w", err)
	}
	return body, nil
}

// authorization returns the header that proves who sends body, canonical JSON, to
// path (Matrix specification, server-server API, "Request Authentication").
func (t Transaction) authorization(key Key, method string, body []byte) string {
	signed := append([]byte(`{"content":`), body...)
	for _, field := range []struct{ name, value string }{
		{"destination", t.Destination.String()}, {"method", method}, {"origin", t.Origin.String()}, {"uri", t.path()},
	} {
		signed = append(append(append(signed, `,"`...), field.name...), `":`...)
		signed = appendString(signed, field.value)
	}
	return fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="%s",sig="%s"`,
		t.Origin, t.Destination, key.ID(), key.sign(append(signed, '}')))
}
