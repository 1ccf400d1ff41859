package capture

import (
	_ "embed"
	"strings"
)

//go:embed presence-capture.ndjson
var example string

// Example returns a reader of 670 updates that two homeservers exchanged, with
// the server names example.com and somewhere.org.
func Example() *strings.Reader { return strings.NewReader(example) }
