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
	"github.com/presence-router/presence-router/stream/diagnosis"
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
	return explain(s.diagnosed(ctx, err))
}

// diagnosed returns err with what is wrong with the servers or the streams before it, if
// err itself leaves that open.
func (s *session) diagnosed(ctx context.Context, err error) error {
	bare := err
	var told *usageError
	var refused *queryFailure
	switch {
	case err == nil, errors.As(err, &told):
		return err
	case errors.As(err, &refused): // What it advises is of no use if a stream is missing.
		bare = refused.err
	}
	found := diagnosis.Explain(context.WithoutCancel(ctx), s.js.Conn(), s.config.Streams.Prefix, bare, s.diagnosis()...)
	if errors.As(found, new(diagnosis.Problem)) {
		return found
	}
	if refused == nil && (errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)) {
		return &slowError{err}
	}
	return err
}

// slowError is the error about an answer that did not come in time though nothing is
// wrong that can be found.
type slowError struct{ error }

func (s *slowError) Error() string {
	return "NATS is connected and has not answered in time: " + s.error.Error()
}

func (s *slowError) Unwrap() error { return s.error }

// diagnosis is what to look at where the configuration says so.
func (s *session) diagnosis() []diagnosis.Option {
	if s.config.Streams.State.Enabled {
		return nil
	}
	return []diagnosis.Option{diagnosis.WithoutStates()}
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
	var slow *slowError
	switch {
	case err == nil, errors.As(err, &told), errors.As(err, &refused), errors.As(err, &slow), errors.As(err, new(diagnosis.Problem)),
		errors.Is(err, stream.ErrServerVersion):
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
		return fmt.Errorf("no stream takes updates: it is missing or has no leader (see router-worker status): %w", err)
	default:
		return err
	}
}
