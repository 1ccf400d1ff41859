package stream

import (
	"slices"
	"strings"

	"github.com/presence-router/presence-router/internal/fault"
)

// ReplyPrefix is what the subjects of some inboxes begin with: one token or more,
// such as _INBOX or _INBOX.workers.
type ReplyPrefix string

// Prefixes of subjects that answers come to.
const (
	DefaultInboxPrefix ReplyPrefix = "_INBOX" // of nats.go
	ImportReplyPrefix  ReplyPrefix = "_R_"    // of the server, for requests that another account imports
)

const maxReplyPrefix = 128

// Validate returns nil or a *fault.Field.
func (p ReplyPrefix) Validate() error {
	return fault.Check(len(p) <= maxReplyPrefix && p.isSubject(), "", string(p),
		"1 to 128 characters such as _INBOX or _INBOX.workers: visible ASCII without * and >, and no $ at the start, as the server's own subjects have")
}

func (p ReplyPrefix) isSubject() bool {
	isOther := func(r rune) bool { return r <= ' ' || r > '~' || r == '*' || r == '>' }
	tokens := strings.Split(string(p), ".")
	return !slices.Contains(tokens, "") && !strings.HasPrefix(tokens[0], "$") && !strings.ContainsFunc(string(p), isOther)
}

// ValidateBeside returns nil, or a *fault.Field if subjects of a deployment begin
// with p, whose streams.subject_prefix is subjects.
func (p ReplyPrefix) ValidateBeside(subjects string) error {
	first, _, _ := strings.Cut(string(p), ".")
	return fault.Check(first != subjects, "", string(p), "another first token than "+subjects+", streams.subject_prefix")
}
