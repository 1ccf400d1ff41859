package client

import (
	"strconv"
	"strings"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// Selection is a part of the deliveries that one reader takes. It is one filter of
// a consumer: a server is very slow with several, so that who wants several shards
// reads each by itself. The zero Selection is all deliveries.
type Selection struct {
	tokens string // of the subject behind presence.deliver
	err    error  // what is wrong with it
}

// maxShards is the most that streams.deliveries.shards may be.
const maxShards = 4096

// All selects every delivery.
func All() Selection { return Selection{} }

// InScope selects the deliveries to users of this homeserver (wire.Local), or of
// others (wire.Remote).
func InScope(scope wire.Scope) Selection { return Selection{tokens: string(scope) + ".>"} }

// InShard selects one of streams.deliveries.shards (16) equal shares of a scope.
// All deliveries to one remote server are in one shard, and so are all to one local
// user: wire.Shard says in which. Who reads a shard that is not one of 0 to 4095 gets
// an error; one of those that is beyond the configured number has no deliveries.
func InShard(scope wire.Scope, shard int) Selection {
	return Selection{tokens: string(scope) + "." + strconv.Itoa(shard) + ".>", err: fault.Within("shard", shard, 0, maxShards-1)}
}

// ToServer selects the deliveries to users of one server, whatever the scope.
func ToServer(server presence.ServerName) Selection {
	return Selection{tokens: "*.*." + wire.EncodeToken(server.String()) + ".*"}
}

// ToUser selects the deliveries to one user.
func ToUser(user presence.UserID) Selection {
	return Selection{tokens: "*.*." + wire.EncodeToken(user.Server().String()) + "." + wire.EncodeToken(user.Localpart())}
}

// Filter returns the filter of s for a consumer.
func (c *Client) Filter(s Selection) string {
	if s.tokens == "" {
		return c.subjects.Deliveries()
	}
	return strings.TrimSuffix(c.subjects.Deliveries(), ">") + s.tokens
}
