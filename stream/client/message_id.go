package client

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
)

// messageIDs makes message IDs of the IDs of updates, which nobody without the key can
// guess. The server stores nothing that has the ID of a message before it, whoever
// published that.
type messageIDs struct{ key []byte }

// newMessageIDs returns the message IDs of a key, of a random one if it is "".
func newMessageIDs(key string) messageIDs {
	if key == "" {
		key = rand.Text()
	}
	return messageIDs{key: []byte(key)}
}

// seal is how many bytes of a message ID depend on the key.
const seal = 16

// of returns the message ID of the update with id, "" if that is "": the ID, a dot, and
// 26 letters and digits.
func (m messageIDs) of(id string) string {
	if id == "" {
		return ""
	}
	mac := hmac.New(sha256.New, m.key)
	mac.Write([]byte(id)) // It never fails.
	return id + "." + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:seal])
}
