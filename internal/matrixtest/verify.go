package matrixtest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

var authorizationPattern = regexp.MustCompile(`^X-Matrix origin="([^"]+)",destination="([^"]+)",key="([^"]+)",sig="([^"]+)"$`)

// verify returns the transaction of a request that is what it should be.
func verify(r *http.Request, body []byte, keys map[string]ed25519.PublicKey) (Transaction, error) {
	if r.Method != http.MethodPut || !strings.HasPrefix(r.URL.Path, "/_matrix/federation/v1/send/") {
		return Transaction{}, errors.New("is no transaction")
	}
	fields := authorizationPattern.FindStringSubmatch(r.Header.Get("Authorization"))
	if fields == nil {
		return Transaction{}, fmt.Errorf("has the authorization %q", r.Header.Get("Authorization"))
	}
	origin, destination, key, signature := fields[1], fields[2], fields[3], fields[4]
	signed, err := canonical(map[string]any{
		"method": r.Method, "uri": r.URL.RequestURI(), "origin": origin, "destination": destination, "content": json.RawMessage(body),
	})
	if err != nil {
		return Transaction{}, err
	}
	decoded, err := base64.RawStdEncoding.DecodeString(signature)
	public, known := keys[origin+" "+key]
	if err != nil || !known || !ed25519.Verify(public, signed, decoded) {
		return Transaction{}, fmt.Errorf("is not signed by %s with %s: %s", origin, key, signed)
	}
	t, err := decode(r, body)
	if err == nil && t.Origin != origin {
		err = fmt.Errorf("is of %s in its body and of %s in its header", t.Origin, origin)
	}
	t.Destination = destination
	return t, err
}

// canonical writes value as the standard library does where that is canonical: what
// it sorts and escapes is right but for three characters, which it always escapes.
func canonical(value any) ([]byte, error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	var generic any
	if err := decoder.Decode(&generic); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(generic); err != nil {
		return nil, err
	}
	text := strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(strings.TrimSuffix(out.String(), "\n"))
	return []byte(text), nil
}
