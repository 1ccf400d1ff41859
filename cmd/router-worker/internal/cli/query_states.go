package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/capture"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

func (p *program) currentStates() *cobra.Command {
	var viewer string
	command := &cobra.Command{
		Use:   "current-states USER...",
		Short: "Show the newest states of users",
		Long: `Show the newest states of users, or with --for what that local user may see of them.
Users of whom nothing is known, or to be seen, are left out. With --json every line
is {"epoch":1795370000000,"sequence":42,"state":{...}}, the state as it was
published.`,
		Example: "  router-worker query current-states --for @alice:example.com @bob:example.com",
		Args:    takes(1, unlimited),
	}
	command.Flags().StringVar(&viewer, "for", "", "only what this local user may see, a user `ID`")
	var asking presence.UserID
	check := func() (err error) {
		if viewer == "" {
			return nil
		}
		if asking, err = presence.ParseUserID(viewer); err != nil {
			return usagef("--for: %w", err)
		}
		return nil
	}
	return p.asks(command, check, func(ctx context.Context, s *session, users []presence.UserID) error {
		return p.listStates(ctx, s, users, asking)
	})
}

func (p *program) listStates(ctx context.Context, s *session, users []presence.UserID, viewer presence.UserID) error {
	rows := newTable(p.Stdout, "USER", "STATE", "UPDATE", "STATUS")
	defer rows.flush()
	for placed, err := range s.client.CurrentStates(ctx, users, viewer) {
		if err != nil {
			return err
		}
		state, sequence := placed.State, placed.State.Published().Position
		if p.flags.json {
			p.say(`{"epoch":%d,"sequence":%d,"state":%s}`, placed.Epoch, sequence, oneLine(state.Published().JSON))
			continue
		}
		rows.row(state.UserID.String(), string(state.State), "#"+strconv.FormatUint(sequence, 10), state.StatusMsg.Text)
	}
	if !rows.flush() && !p.flags.json {
		p.say("no states")
	}
	return nil
}

func (p *program) usersForStates() *cobra.Command {
	command := &cobra.Command{
		Use:   "users-for-states [FILE]",
		Short: "Show who would receive states",
		Long: `Show who would receive states if they were published now, without publishing them:
updates from FILE or from stdin, one JSON object a line, 1 MiB together. With --json
every line is {"user_id":"@alice:example.com","states":[{...}]}, the states as they
would be delivered.`,
		Example: `  echo '{"user_id":"@bob:example.com","state":"online"}' | router-worker query users-for-states`,
		Args:    takes(0, 1),
	}
	p.clientFlags(command)
	return p.does(command, func(ctx context.Context, args []string) error {
		return p.asClient(ctx, func(ctx context.Context, s *session) error {
			states, err := p.readStates(args, s.config.Streams.Updates.MaxUpdateBytes)
			if err != nil {
				return err
			}
			return failed(p.listRecipients(ctx, s, states))
		})
	})
}

// readStates returns the states in a file or on stdin, or what is wrong with the
// first line that holds none.
func (p *program) readStates(args []string, maxBytes int) ([]presence.UserState, error) {
	const most = 1 << 20 // bytes, which is about what fits one request
	in, _, err := p.open(args)
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // It was only read.
	var states []presence.UserState
	for line := range capture.Read(in, maxBytes) {
		if line.Err != nil {
			return nil, fmt.Errorf("line %d: %w", line.Number, line.Err)
		}
		if line.End > most {
			return nil, fmt.Errorf("line %d: more than 1 MiB, which one query holds", line.Number)
		}
		states = append(states, line.State)
	}
	if len(states) == 0 {
		return nil, errors.New("no states are given")
	}
	return states, nil
}

func (p *program) listRecipients(ctx context.Context, s *session, states []presence.UserState) error {
	rows := newTable(p.Stdout, "RECIPIENT", "USER", "STATE", "STATUS")
	defer rows.flush()
	for recipient, err := range s.client.UsersForStates(ctx, states) {
		if err != nil {
			return err
		}
		if p.flags.json {
			if err := p.writeJSON(recipientLine(recipient)); err != nil {
				return err
			}
			continue
		}
		for _, state := range recipient.States {
			rows.row(recipient.UserID.String(), state.UserID.String(), string(state.State), state.StatusMsg.Text)
		}
	}
	if !rows.flush() && !p.flags.json {
		p.say("no recipients")
	}
	return nil
}

func recipientLine(recipient wire.UserStates) any {
	line := struct {
		UserID presence.UserID   `json:"user_id"`
		States []json.RawMessage `json:"states"`
	}{UserID: recipient.UserID}
	for _, state := range recipient.States {
		line.States = append(line.States, wire.AppendState(nil, state))
	}
	return line
}
