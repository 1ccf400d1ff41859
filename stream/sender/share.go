package sender

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// Share says which deliveries a sender reads: those for all other servers where it
// is zero, else those in some shards or for some servers, not both. A sender reads
// each shard or server through a consumer of its own, which has one filter.
type Share struct {
	Shards       []int // 0 to one less than streams.deliveries.shards
	Destinations []presence.ServerName
}

// maxConsumers bounds how many shards or servers a share may list.
const maxConsumers = 1024

// Validate returns nil or the joined faults, each a *fault.Field.
func (s Share) Validate() error {
	faults := []error{
		fault.Check(len(s.Shards) == 0 || len(s.Destinations) == 0, "destinations", s.Destinations, "none where shards are listed"),
		fault.Check(len(s.Shards) <= maxConsumers, "shards", len(s.Shards), "at most 1024 shards"),
		fault.Check(len(s.Destinations) <= maxConsumers, "destinations", len(s.Destinations), "at most 1024 servers"),
	}
	for i, shard := range s.Shards {
		path := "shards[" + strconv.Itoa(i) + "]"
		faults = append(faults, fault.Within(path, shard, 0, 4095),
			fault.Check(!slices.Contains(s.Shards[:i], shard), path, shard, "each shard once"))
	}
	for i, server := range s.Destinations {
		path := "destinations[" + strconv.Itoa(i) + "]"
		faults = append(faults, fault.Check(!slices.Contains(s.Destinations[:i], server), path, server, "each server once"))
	}
	return errors.Join(faults...)
}

// part is what one consumer reads.
type part struct {
	consumer string
	filter   string
}

func (s Share) parts(name string, subjects wire.Subjects) []part {
	remote := subjects.Prefix() + ".deliver." + string(wire.Remote) + "."
	var parts []part
	for _, shard := range s.Shards {
		number := strconv.Itoa(shard)
		parts = append(parts, part{consumer: name + "-shard-" + number, filter: remote + number + ".>"})
	}
	for _, server := range s.Destinations {
		parts = append(parts, part{consumer: name + "-to-" + consumerToken(server), filter: subjects.DeliveriesTo(server)})
	}
	if parts == nil {
		return []part{{consumer: name, filter: remote + ">"}}
	}
	return parts
}

// longestToken leaves room in a consumer's name of at most 255 bytes.
const longestToken = 128

// consumerToken returns a server's token, or a digest of one that is too long for
// the name of a consumer.
func consumerToken(server presence.ServerName) string {
	token := wire.EncodeToken(server.String())
	if len(token) <= longestToken {
		return token
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
