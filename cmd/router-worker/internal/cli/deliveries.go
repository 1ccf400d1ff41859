package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

type deliveriesFlags struct {
	server string
	user   string
	all    bool
	latest bool
	resume string
	count  int

	consumer  string
	apiPrefix string
}

func (p *program) deliveries() *cobra.Command {
	var flags deliveriesFlags
	command := &cobra.Command{
		Use:   "deliveries",
		Short: "Show deliveries as they come, one line per state",
		Long: `Show deliveries as they come, one line per state: the time of the commit, the
recipient, the user, the state, the update's sequence and the status message. With
--json every delivery is one line, as workers committed it.

With --latest it shows what a sync worker answers the client of --user from: the
newest state of each user among the deliveries that are stored, then each state
that is newer, as it comes. What is delivered twice, or late, is shown once. With
--resume FILE it begins where FILE says, and keeps FILE up to date: a view of the
newest states and the position that it stands for. A file that does not exist is
made. One that is older than deliveries are kept says so: send-online-presence
brings what was missed.`,
		Example: `  router-worker deliveries --user @alice:example.com
  router-worker deliveries --server matrix.org --all --json
  router-worker deliveries --user @alice:example.com --latest --resume alice.json`,
		Args: takes(0, 0),
	}
	p.clientFlags(command)
	flags.add(command)
	return p.does(command, func(ctx context.Context, _ []string) error {
		selection, err := flags.selection()
		if err != nil {
			return err
		}
		if flags.latest {
			return p.latest(ctx, flags)
		}
		return p.asReader(ctx, flags, func(ctx context.Context, s *session) error {
			return p.showDeliveries(ctx, s, selection, flags)
		})
	})
}

func (f *deliveriesFlags) add(command *cobra.Command) {
	command.Flags().StringVar(&f.server, "server", "", "only recipients of this `server`")
	command.Flags().StringVar(&f.user, "user", "", "only this recipient, a user `ID`")
	command.Flags().BoolVar(&f.all, "all", false, "begin with the oldest delivery that is stored, not with the next one")
	command.Flags().BoolVar(&f.latest, "latest", false, "show the newest state of each user, then newer ones; needs --user")
	command.Flags().StringVar(&f.resume, "resume", "", "with --latest: go on from `file`, and keep it up to date")
	command.Flags().StringVar(&f.consumer, "consumer", "", "read through a consumer of this `name`, for users who are permitted one; made up if empty")
	command.Flags().StringVar(&f.apiPrefix, "api-prefix", "", "what the subjects of the JetStream API begin with, if another account's is imported: a `prefix` such as presence.js")
	command.Flags().IntVar(&f.count, "count", 0, "end after `N` deliveries, with --latest after N states; 0 for never")
}

// selection returns what is to be read, or what is wrong with the flags.
func (f deliveriesFlags) selection() (client.Selection, error) {
	switch {
	case f.count < 0:
		return client.Selection{}, usagef("--count is %d: want 0 or more", f.count)
	case f.user != "" && f.server != "":
		return client.Selection{}, usagef("--server and --user exclude each other")
	case f.latest && f.user == "":
		return client.Selection{}, usagef("--latest needs --user")
	case f.latest && f.all:
		return client.Selection{}, usagef("--latest and --all exclude each other: --latest begins with what is stored")
	case f.consumer != "" && nameOf(f.consumer) != nil:
		return client.Selection{}, usagef("--consumer: %w", nameOf(f.consumer))
	case f.apiPrefix != "" && wire.CheckAPIPrefix(f.apiPrefix) != nil:
		return client.Selection{}, usagef("--api-prefix: %w", wire.CheckAPIPrefix(f.apiPrefix))
	case f.resume != "" && !f.latest:
		return client.Selection{}, usagef("--resume needs --latest")
	case f.user != "":
		user, err := presence.ParseUserID(f.user)
		if err != nil {
			return client.Selection{}, usagef("--user: %w", err)
		}
		return client.ToUser(user), nil
	case f.server != "":
		server, err := presence.ParseServerName(f.server)
		if err != nil {
			return client.Selection{}, usagef("--server: %w", err)
		}
		return client.ToServer(server), nil
	default:
		return client.All(), nil
	}
}

// nameOf returns nil for the name that a consumer may have.
func nameOf(consumer string) error { return client.DurableConfig{Name: consumer}.Validate() }

// asReader is asClient, with the consumer and the API that the flags name.
func (p *program) asReader(ctx context.Context, flags deliveriesFlags, do func(context.Context, *session) error) error {
	var options []client.Option
	if flags.consumer != "" {
		options = append(options, client.WithConsumerName(flags.consumer))
	}
	if flags.apiPrefix != "" {
		options = append(options, client.WithAPIPrefix(flags.apiPrefix))
	}
	return p.asClient(ctx, do, options...)
}

func (p *program) showDeliveries(ctx context.Context, s *session, selection client.Selection, flags deliveriesFlags) error {
	after, err := s.client.End(ctx)
	if err != nil {
		return err
	}
	if flags.all {
		after = client.Position{}
	}
	p.note("following %s, Ctrl-C ends", terminal.Escape(s.client.Filter(selection)))
	seen := 0
	for d, err := range s.client.Deliveries(ctx, selection, after) {
		if err != nil {
			if p.noted(err) {
				continue
			}
			return endOfFollowing(err)
		}
		p.showDelivery(d)
		if seen++; seen == flags.count {
			break
		}
	}
	return nil
}

// noted notes an error behind which reading goes on.
func (p *program) noted(err error) bool {
	if !client.ReadsOn(err) {
		return false
	}
	for line := range strings.Lines(err.Error()) {
		p.note("%s", terminal.Escape(strings.TrimSuffix(line, "\n")))
	}
	return true
}

// endOfFollowing returns nil where Ctrl-C ended it, as it was to.
func endOfFollowing(err error) error {
	if errors.As(err, new(*signalError)) {
		return nil
	}
	return err
}

func (p *program) showDelivery(d client.Delivery) {
	if p.flags.json {
		p.say("%s", oneLine(d.Data))
		return
	}
	for _, state := range d.States {
		p.say("%s", terminal.DeliveryLine(d.Stored, d.Recipient, state))
	}
}

// oneLine returns data as it is where that is one line. A publisher may have
// broken an update into lines, and it is delivered as it was published.
func oneLine(data []byte) []byte {
	if !bytes.ContainsAny(data, "\n\r") {
		return data
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return data
	}
	return compact.Bytes()
}
