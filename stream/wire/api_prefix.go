package wire

import (
	"fmt"
	"regexp"
)

// DefaultAPIPrefix is what the subjects of the JetStream API begin with in the account
// of the router. An account that imports the API calls it otherwise.
const DefaultAPIPrefix = "$JS.API"

var apiPrefixPattern = regexp.MustCompile(`^[A-Za-z0-9$_-]{1,64}(\.[A-Za-z0-9$_-]{1,64}){0,7}$`)

// CheckAPIPrefix returns nil for what the subjects of the JetStream API may begin
// with: 1 to 8 tokens of A-Z, a-z, 0-9, $, _ and -.
func CheckAPIPrefix(prefix string) error {
	if !apiPrefixPattern.MatchString(prefix) {
		return fmt.Errorf("API prefix is %s: want 1 to 8 tokens of A-Z, a-z, 0-9, $, _ and -, such as $JS.API or presence.js", quoteShort(prefix))
	}
	return nil
}
