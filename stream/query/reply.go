package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/presence-router/presence-router/stream/wire"
)

// reply is a subject that an answer may go to, "" for none. Only replies.check makes
// one: whoever asks names the subject, and the answer is published with the
// permissions of the worker.
type reply string

// replies knows the subjects that answers may go to.
type replies struct {
	prefixes []string // each with a dot at its end
}

// maxReply bounds a reply subject, so that the server takes it as the subject of a
// message: it bounds a line of the protocol, 4 KiB by default.
const maxReply = 1 << 10

// newReplies allows subjects below the configured prefixes and below inbox, where the
// inboxes of the worker's connection are; "" is the default.
func newReplies(inbox string, config Config, subjects wire.Subjects) (replies, error) {
	own := cmp.Or(ReplyPrefix(inbox), DefaultInboxPrefix)
	if err := errors.Join(own.Validate(), own.ValidateBeside(subjects.Prefix())); err != nil {
		return replies{}, fmt.Errorf("inbox prefix of the connection %w", err)
	}
	var r replies
	for _, prefix := range append([]ReplyPrefix{own}, config.ReplyPrefixes...) {
		r.prefixes = append(r.prefixes, string(prefix)+".")
	}
	return r, nil
}

// check returns subject as one that may be answered, if it may be.
func (r replies) check(subject string) (to reply, ok bool) {
	if subject == "" { // nobody waits for an answer
		return "", true
	}
	if len(subject) > maxReply || strings.ContainsAny(subject, "*>") || strings.Contains(subject, "..") || strings.HasSuffix(subject, ".") {
		return "", false
	}
	for _, prefix := range r.prefixes {
		if strings.HasPrefix(subject, prefix) {
			return reply(subject), true
		}
	}
	return "", false
}

// misdirected reports requests whose answer would go to a subject where it must not:
// each to the metric, the first to the log.
type misdirected struct {
	log       *slog.Logger
	telemetry *telemetry
	first     sync.Once
}

func (m *misdirected) add(ctx context.Context, query, subject string) {
	m.telemetry.misdirectedQuery(ctx, query)
	m.first.Do(func() {
		m.log.Warn("a query is not answered: its reply subject is below none of worker.queries.reply_prefixes; logged once, presence_router_queries_misdirected_total counts them",
			"query", query, "reply_begins", beginningOf(subject))
	})
}

// beginningOf returns the first two tokens of a subject, shortened: those behind may
// name a user.
func beginningOf(subject string) string {
	const most = 64
	tokens := strings.SplitN(subject, ".", 3)
	beginning := strings.Join(tokens[:min(2, len(tokens))], ".")
	return strings.Map(printable, strings.ToValidUTF8(beginning[:min(most, len(beginning))], ""))
}
