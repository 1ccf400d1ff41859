package query

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

// ValidateInbox returns what Validate does, and a *fault.Field if the server keeps
// what begins with p for replies between accounts.
func (p ReplyPrefix) ValidateInbox() error {
	if err := p.Validate(); err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(p), ".")
	return fault.Check(first != "_R_" && first != "_GR_", "", string(p),
		"a prefix such as _INBOX or _INBOX.workers: the server keeps _R_ and _GR_ for itself")
}

// ValidateBeside returns nil, or a *fault.Field if subjects of a deployment begin
// with p, whose streams.subject_prefix is subjects.
func (p ReplyPrefix) ValidateBeside(subjects string) error {
	first, _, _ := strings.Cut(string(p), ".")
	return fault.Check(first != subjects, "", string(p), "another first token than "+subjects+", streams.subject_prefix")
}
