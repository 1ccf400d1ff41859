package dendrite

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"time"
)

// place is where Dendrite's stream stored a message. No other message has the same,
// also if the stream was made again: sequences begin with 1 then, and it is later.
type place struct {
	sequence uint64
	time     int64 // in nanoseconds
}

func placeOf(sequence uint64, stored time.Time) place { return place{sequence, stored.UnixNano()} }

// idKey is the secret that message IDs are made with. It is kept with the durable
// consumer, so that all processes which stand by for each other have the same.
type idKey string

func newKey() idKey { return idKey(rand.Text()) }

// seal is how many bytes of a message ID depend on the key.
const seal = 16

// messageID returns the message ID of the update at a place.
func (k idKey) messageID(at place) string {
	id := fmt.Sprintf("%d.%d", at.time, at.sequence)
	mac := hmac.New(sha256.New, []byte(k))
	mac.Write([]byte(id)) // It never fails.
	return id + "." + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:seal])
}
