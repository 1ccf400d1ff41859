package federation

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/pem"
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
// "ed25519 <version> <seed in unpadded base64>", or of one in PEM as Dendrite has it.
func ParseKey(file []byte) (Key, error) {
	if block, _ := pem.Decode(file); block != nil {
		return parsePEM(block)
	}
	for line := range strings.Lines(string(file)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			return parseKey(fields)
		}
	}
	return Key{}, fmt.Errorf("%w: the file holds none", ErrInvalidKey)
}

// parsePEM keeps the secret out of its errors.
func parsePEM(block *pem.Block) (Key, error) {
	version, found := strings.CutPrefix(block.Headers["Key-ID"], "ed25519:")
	if block.Type != "MATRIX PRIVATE KEY" || !found {
		return Key{}, fmt.Errorf("%w: the PEM block is %q with the Key-ID %q, want MATRIX PRIVATE KEY with ed25519:<version>",
			ErrInvalidKey, block.Type, block.Headers["Key-ID"])
	}
	return newKey(version, block.Bytes)
}

// parseKey keeps the secret out of its errors.
func parseKey(fields []string) (Key, error) {
	if len(fields) != 3 {
		return Key{}, fmt.Errorf("%w: the first line has %d words, want 3: ed25519 <version> <seed>", ErrInvalidKey, len(fields))
	}
	if fields[0] != "ed25519" {
		return Key{}, fmt.Errorf("%w: the algorithm is not ed25519", ErrInvalidKey)
	}
	seed, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(fields[2], "="))
	if err != nil {
		seed = nil // The error would show a part of it.
	}
	return newKey(fields[1], seed)
}

func newKey(version string, seed []byte) (Key, error) {
	if !keyVersion.MatchString(version) {
		return Key{}, fmt.Errorf("%w: the version is %q, want letters, digits and _", ErrInvalidKey, version)
	}
	if len(seed) != ed25519.SeedSize {
		return Key{}, fmt.Errorf("%w: the seed is not %d bytes in unpadded base64", ErrInvalidKey, ed25519.SeedSize)
	}
	return Key{id: "ed25519:" + version, private: ed25519.NewKeyFromSeed(seed)}, nil
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
