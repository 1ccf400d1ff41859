package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/operate"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/client"
)

// clientTimeout bounds how long a command for people waits for a server.
const clientTimeout = 5 * time.Second

// session is what a command that is a client of NATS works with.
type session struct {
	config config.Config
	js     jetstream.JetStream
	client *client.Client
}

// asClient loads the configuration, connects, and has do work with it. What the
// server forbids ends the context that do gets.
func (p *program) asClient(ctx context.Context, do func(context.Context, *session) error, opts ...client.Option) error {
	c, err := p.loadForClient()
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s, nc, err := p.connect(ctx, c, end, opts...)
	if err != nil {
		return explain(err)
	}
	defer nc.Close()
	err = do(ctx, s)
	if denied, ok := errors.AsType[*deniedError](context.Cause(ctx)); ok && err != nil {
		return denied
	}
	return explain(err)
}

func (p *program) connect(
	ctx context.Context, c config.Config, end context.CancelCauseFunc, opts ...client.Option,
) (*session, *nats.Conn, error) {
	options, err := operate.ConnectOptions(c.NATS)
	if err != nil {
		return nil, nil, faulty(err)
	}
	c.NATS.ConnectTimeout = min(c.NATS.ConnectTimeout, clientTimeout)
	options = append(options,
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				end(&deniedError{err})
			}
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil && ctx.Err() == nil {
				p.note("disconnected from NATS (%s), waiting", terminal.Escape(err.Error()))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { p.note("reconnected to NATS") }),
	)
	nc, err := operate.Connect(ctx, c.NATS, slog.New(slog.DiscardHandler), options...)
	if err != nil {
		return nil, nil, err
	}
	js, jsErr := jetstream.New(nc)
	answered := c.Worker.Queries // in these times, by the workers
	opts = append(opts, client.WithQueryTimeout(2*answered.Timeout), client.WithReplayTimeout(3*answered.ReplayTimeout/2))
	router, err := client.New(nc, c.Streams.Prefix, opts...)
	if err := errors.Join(jsErr, err); err != nil {
		nc.Close()
		return nil, nil, err
	}
	return &session{config: c, js: js, client: router}, nc, nil
}

// deniedError is the error about what the server does not permit.
type deniedError struct{ error }

func (d *deniedError) Error() string {
	return "permission denied: the NATS server does not let this user do what the command needs: " + d.error.Error()
}

func (d *deniedError) Unwrap() error { return d.error }

// explain puts before err what an operator can do about it.
func explain(err error) error {
	var told *usageError
	var refused *queryFailure
	switch {
	case err == nil, errors.As(err, &told), errors.As(err, &refused), errors.Is(err, stream.ErrServerVersion):
		return err
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("permission denied: %w", err)
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("cannot reach NATS: %w", err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("the NATS server has no JetStream, or not for this account: %w", err)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("a stream is missing (create it with: router-worker topology apply): %w", err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("no stream takes updates (create it with: router-worker topology apply): %w", err)
	default:
		return err
	}
}
