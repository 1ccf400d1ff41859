package cli

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

func (p *program) query() *cobra.Command {
	command := &cobra.Command{
		Use:   "query",
		Short: "Ask the workers what their routers answer",
		Long: `Ask the workers what their routers answer: whose presence a user may see, who
receives states, what the newest states are; or have them send present states.`,
		Example: `  router-worker query interested-users @alice:example.com
  router-worker query current-states --for @alice:example.com @bob:example.com`,
	}
	p.group(command, p.interestedUsers(), p.usersForStates(), p.sendOnlinePresence(), p.currentStates())
	return command
}

// asks has command ask what do does, with arguments that are user IDs, where check
// finds nothing wrong with its flags.
func (p *program) asks(command *cobra.Command, check func() error, do func(context.Context, *session, []presence.UserID) error) *cobra.Command {
	p.clientFlags(command)
	return p.does(command, func(ctx context.Context, args []string) error {
		users, err := userIDs(args)
		if err = errors.Join(err, check()); err != nil {
			return err
		}
		return p.asClient(ctx, func(ctx context.Context, s *session) error { return failed(do(ctx, s, users)) })
	})
}

func userIDs(args []string) ([]presence.UserID, error) {
	var users []presence.UserID
	for _, arg := range args {
		user, err := presence.ParseUserID(arg)
		if err != nil {
			return nil, usagef("%w", err)
		}
		users = append(users, user)
	}
	return users, nil
}

// queryFailure is the error about a query, with what an operator can do about it.
type queryFailure struct {
	about string
	err   error
}

func (q *queryFailure) Error() string { return q.about + ": " + q.err.Error() }

func (q *queryFailure) Unwrap() error { return q.err }

// failed puts before the error of a query what it means.
func failed(err error) error {
	refused, ok := errors.AsType[*wire.QueryError](err)
	switch {
	case errors.Is(err, client.ErrNoAnswer):
		return &queryFailure{"the workers do not answer: see router-worker status and their logs, and whether worker.queries.reply_prefixes has the nats.inbox_prefix of this command", err}
	case errors.Is(err, nats.ErrNoResponders):
		return &queryFailure{"no worker answers queries (start one with: router-worker run)", err}
	case !ok:
		return err
	case refused.Code == wire.CodeUnavailable:
		return &queryFailure{"the workers stop, are too busy or cannot reach their streams: try again", err}
	case refused.Code == wire.CodeRoutersFailed:
		return &queryFailure{"all routers failed: see the log of the workers", err}
	default:
		return &queryFailure{"the workers refuse the query", err}
	}
}
