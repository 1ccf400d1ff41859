package dendrite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// attemptTimeout bounds one request to the router's NATS.
const attemptTimeout = 5 * time.Second

// errRefused is wrapped by the error about an update that the router's NATS will never
// take.
var errRefused = errors.New("the server refuses the update")

// router is where updates go.
type router struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	subjects  wire.Subjects
	apiPrefix string
	lookUp    bool
	stall     *wait.Stall
}

func newRouter(nc *nats.Conn, c Config, stall *wait.Stall) (*router, error) {
	subjects, err := wire.NewSubjects(c.Prefix)
	if err != nil {
		return nil, err
	}
	if err := wire.CheckAPIPrefix(c.RouterAPIPrefix); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &router{nc: nc, js: js, subjects: subjects, apiPrefix: c.RouterAPIPrefix, lookUp: c.LookUp, stall: stall}, nil
}

// persist tries until it works, is refused or ctx ends.
func (r *router) persist(ctx context.Context, try func(context.Context) error) error {
	retry := wait.NewBackOff()
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := try(attempt)
		cancel()
		if err == nil || errors.Is(err, errRefused) {
			return err
		}
		r.stall.Failed(err)
		wait.Pause(ctx, retry.NextBackOff())
		if ctx.Err() != nil {
			return err
		}
	}
}

// publish stores an update, and reports whether it was stored before.
func (r *router) publish(ctx context.Context, user presence.UserID, update []byte, id string) (isDuplicate bool, err error) {
	err = r.persist(ctx, func(ctx context.Context) error {
		m := &nats.Msg{Subject: r.subjects.Update(user), Data: update, Header: nats.Header{jetstream.MsgIDHeader: {id}}}
		ack, err := r.js.PublishMsg(ctx, m)
		switch {
		case isRefusal(err):
			return fmt.Errorf("%w: %w", errRefused, err)
		case err != nil:
			return fmt.Errorf("publish an update: %w", err)
		}
		isDuplicate = ack.Duplicate
		return nil
	})
	return isDuplicate, err
}

// tooLarge is the server's code for a message beyond the largest of the stream.
const tooLarge jetstream.ErrorCode = 10054

func isRefusal(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == tooLarge || errors.Is(err, nats.ErrMaxPayload)
}

// newest is the newest update of a user that the router knows.
type newest struct {
	id     string // its message ID, "" for none
	status presence.StatusMsg
}

// newestOf looks up the newest update of a user. The zero value is that of a user of
// whom nothing is known.
func (r *router) newestOf(ctx context.Context, user presence.UserID) (n newest, err error) {
	if !r.lookUp {
		return newest{}, nil
	}
	err = r.persist(ctx, func(ctx context.Context) error {
		n, err = r.get(ctx, user)
		return err
	})
	return n, err
}

// get asks for the last message of one subject (NATS ADR-31): the subject of such a
// request names it, so that permissions can limit it to the users of a server.
func (r *router) get(ctx context.Context, user presence.UserID) (newest, error) {
	stream := r.subjects.StateStream()
	m, err := r.nc.RequestWithContext(ctx, r.apiPrefix+".DIRECT.GET."+stream+"."+r.subjects.State(user), nil)
	if err != nil {
		return newest{}, fmt.Errorf("look up the status of a user in %s: %w", stream, err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
	case "404":
		return newest{}, nil
	default:
		return newest{}, fmt.Errorf("look up the status of a user in %s: status %s %s", stream, status, m.Header.Get("Description"))
	}
	n := newest{id: m.Header.Get(jetstream.MsgIDHeader)}
	if state, err := wire.DecodeUpdate(m.Data, 0, len(m.Data)); err == nil { // Else it is a dead letter.
		n.status = state.StatusMsg
	}
	return n, nil
}

// awaitCopied waits until the newest update of a user is the one with id, while ctx
// lasts: whoever goes on after this process can look it up then.
func (r *router) awaitCopied(ctx context.Context, user presence.UserID, id string) {
	for r.lookUp && ctx.Err() == nil {
		if n, err := r.get(ctx, user); err != nil || n.id == id {
			return
		}
		wait.Pause(ctx, copyPause)
	}
}

const copyPause = 5 * time.Millisecond
