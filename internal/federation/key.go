package federation

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrInvalidKey is wrapped by every error that ParseKey returns.
var ErrInvalidKey = errors.New("invalid signing key")

// Key is what a server signs its requests with. It shows itself by its ID alone.
type Key struct {
	id      string
	private ed25519.PrivateKey
}

var keyVersion = regexp.MustCompile(`^[a-zA-Z0-9_]+$`)

// ParseKey returns the first key of a Matrix key file, whose lines are
// "ed25519 <version> <seed in unpadded base64>".
func ParseKey(file []byte) (Key, error) {
	for line := range strings.Lines(string(file)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			return parseKey(fields)
		}
	}
	return Key{}, fmt.Errorf("%w: the file holds none", ErrInvalidKey)
}

// parseKey keeps the secret out of its errors.
func parseKey(fields []string) (Key, error) {
	if len(fields) != 3 {
		return Key{}, fmt.Errorf("%w: the first line has %d words, want 3: ed25519 <version> <seed>", ErrInvalidKey, len(fields))
	}
	if fields[0] != "ed25519" {
		return Key{}, fmt.Errorf("%w: the algorithm is not ed25519", ErrInvalidKey)
	}
	if !keyVersion.MatchString(fields[1]) {
		return Key{}, fmt.Errorf("%w: the version is %q, want letters, digits and _", ErrInvalidKey, fields[1])
	}
	seed, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(fields[2], "="))
	if err != nil || len(seed) != ed25519.SeedSize {
		return Key{}, fmt.Errorf("%w: the seed is not %d bytes in unpadded base64", ErrInvalidKey, ed25519.SeedSize)
	}
	return Key{id: "ed25519:" + fields[1], private: ed25519.NewKeyFromSeed(seed)}, nil
}

// ID returns the key's ID, such as ed25519:a_key.
func (k Key) ID() string { return k.id }

// String returns the key's ID.
func (k Key) String() string { return k.id }

// GoString returns the key's ID.
func (k Key) GoString() string { return k.id }

// sign returns the signature of message in unpadded base64.
func (k Key) sign(message []byte) string {
	return base64.RawStdEncoding.EncodeToString(ed25519.Sign(k.private, message))
}
