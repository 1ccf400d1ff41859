package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/routing/presence"
)

func (p *program) interestedUsers() *cobra.Command {
	var limit int
	command := &cobra.Command{
		Use:   "interested-users USER",
		Short: "List whose presence a user may see",
		Long: `List whose presence a user may see, one user a line, in order. With --json every line
is {"user_id":"@bob:example.com"}, or the only one is {"all_users":true}.`,
		Example: "  router-worker query interested-users @alice:example.com",
		Args:    takes(1, 1),
	}
	command.Flags().IntVar(&limit, "limit", 0, "list at most `N` users, 0 for all")
	check := func() error {
		if limit < 0 {
			return usagef("--limit is %d: want 0 or more", limit)
		}
		return nil
	}
	return p.asks(command, check, func(ctx context.Context, s *session, users []presence.UserID) error {
		return p.listInterestedUsers(ctx, s, users[0], limit)
	})
}

func (p *program) listInterestedUsers(ctx context.Context, s *session, user presence.UserID, limit int) error {
	interest, err := s.client.InterestedUsers(ctx, user)
	if err != nil {
		return err
	}
	if interest.All {
		return p.answer(map[string]bool{"all_users": true}, "all users")
	}
	listed := 0
	for user, err := range interest.Users(ctx) {
		if err != nil {
			return err
		}
		if limit > 0 && listed == limit {
			p.note("and more: --limit 0 lists all")
			return nil
		}
		if err := p.answer(map[string]presence.UserID{"user_id": user}, user.String()); err != nil {
			return err
		}
		listed++
	}
	if listed == 0 && !p.flags.json {
		p.say("no users")
	}
	return nil
}

// answer writes a line, for programs or for people.
func (p *program) answer(value any, line string) error {
	if p.flags.json {
		return p.writeJSON(value)
	}
	p.say("%s", terminal.Escape(line))
	return nil
}

func (p *program) sendOnlinePresence() *cobra.Command {
	command := &cobra.Command{
		Use:   "send-online-presence USER...",
		Short: "Have the present states sent that users may see",
		Long: `Have deliveries made of the present states of all whose presence the users may see,
as Synapse's send_local_online_presence_to does, and show how many states each was
sent. With --json every line is {"user_id":"@alice:example.com","states":12}.`,
		Example: "  router-worker query send-online-presence @alice:example.com @dave:example.com",
		Args:    takes(1, unlimited),
	}
	check := func() error { return nil }
	return p.asks(command, check, func(ctx context.Context, s *session, users []presence.UserID) error {
		sent, err := s.client.SendOnlinePresence(ctx, users)
		rows := newTable(p.Stdout, "RECIPIENT", "STATES")
		defer rows.flush()
		for _, user := range sent {
			if !p.flags.json {
				rows.row(user.UserID.String(), strconv.Itoa(user.States))
				continue
			}
			if err := p.writeJSON(map[string]any{"user_id": user.UserID, "states": user.States}); err != nil {
				return err
			}
		}
		return err
	})
}
