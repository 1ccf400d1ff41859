package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/follow"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

var errEnough = errors.New("as many as were asked for")

type deliveriesFlags struct {
	server string
	user   string
	all    bool
	count  int
}

func (p *program) deliveries() *cobra.Command {
	var flags deliveriesFlags
	command := &cobra.Command{
		Use:   "deliveries",
		Short: "Show deliveries as they come, one line per state",
		Long: `Show deliveries as they come, one line per state: the time of the commit, the
recipient, the user, the state, the update's sequence and the status message. With
--json every delivery is one line, as workers committed it.`,
		Example: `  router-worker deliveries --user @alice:example.com
  router-worker deliveries --server matrix.org --all --json`,
		Args: cobra.NoArgs,
	}
	p.clientFlags(command)
	command.Flags().StringVar(&flags.server, "server", "", "only recipients of this `server`")
	command.Flags().StringVar(&flags.user, "user", "", "only this recipient, a user `ID`")
	command.Flags().BoolVar(&flags.all, "all", false, "begin with the oldest delivery that is stored, not with the next one")
	command.Flags().IntVar(&flags.count, "count", 0, "end after `N` deliveries, 0 for never")
	return p.does(command, func(ctx context.Context, _ []string) error {
		filter, err := flags.filter()
		if err != nil {
			return err
		}
		return p.asClient(ctx, func(ctx context.Context, c *client) error {
			return p.showDeliveries(ctx, c, filter(c.subjects), flags)
		})
	})
}

// filter returns what makes the one filter of the consumer, or what is wrong with
// the flags.
func (f deliveriesFlags) filter() (func(wire.Subjects) string, error) {
	switch {
	case f.count < 0:
		return nil, usagef("--count is %d: want 0 or more", f.count)
	case f.user != "" && f.server != "":
		return nil, usagef("--server and --user exclude each other")
	case f.user != "":
		user, err := presence.ParseUserID(f.user)
		if err != nil {
			return nil, usagef("--user: %w", err)
		}
		return func(s wire.Subjects) string { return s.DeliveriesFor(user) }, nil
	case f.server != "":
		server, err := presence.ParseServerName(f.server)
		if err != nil {
			return nil, usagef("--server: %w", err)
		}
		return func(s wire.Subjects) string {
			return strings.TrimSuffix(s.Deliveries(), ">") + "*.*." + wire.EncodeToken(server.String()) + ".*"
		}, nil
	default:
		return wire.Subjects.Deliveries, nil
	}
}

func (p *program) showDeliveries(ctx context.Context, c *client, filter string, flags deliveriesFlags) error {
	reader, err := follow.FromNow(ctx, c.js, c.subjects.DeliveriesStream(), filter)
	if err != nil {
		return err
	}
	if flags.all {
		reader = follow.FromOldest(c.js, c.subjects.DeliveriesStream(), filter)
	}
	p.note("following %s, Ctrl-C ends", terminal.Escape(filter))
	seen := 0
	err = reader.Run(ctx, func(m jetstream.Msg) error {
		p.showDelivery(m)
		seen++
		if seen == flags.count {
			return errEnough
		}
		return nil
	})
	switch cause := context.Cause(ctx); {
	case errors.Is(err, errEnough):
		return nil
	case err == nil && !errors.As(cause, new(*signalError)):
		return cause
	default:
		return err
	}
}

func (p *program) showDelivery(m jetstream.Msg) {
	delivery, err := wire.DecodeDelivery(m.Data())
	if err != nil {
		p.note("message on %s is no delivery: %s", terminal.Escape(m.Subject()), terminal.Escape(err.Error()))
		return
	}
	if p.flags.json {
		p.say("%s", oneLine(m.Data()))
		return
	}
	meta, err := m.Metadata()
	if err != nil {
		p.note("message on %s has no metadata: %s", terminal.Escape(m.Subject()), terminal.Escape(err.Error()))
		return
	}
	for _, state := range delivery.States {
		p.say("%s", terminal.DeliveryLine(meta.Timestamp, delivery.Recipient, state))
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
