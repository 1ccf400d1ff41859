package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/presence-router/presence-router/routing/presence"
)

// Scope says whether the recipient of a delivery is a user of this homeserver.
type Scope string

// The scopes.
const (
	Local  Scope = "local"
	Remote Scope = "remote"
)

// DeliverySubject is what the subject of a delivery says.
type DeliverySubject struct {
	Scope     Scope
	Shard     int
	Recipient presence.UserID
}

// Delivery returns the subject of recipient's deliveries:
// presence.deliver.<scope>.<shard>.<server>.<localpart>.
func (s Subjects) Delivery(scope Scope, shard int, recipient presence.UserID) string {
	return string(s.AppendDelivery(make([]byte, 0, 64), scope, shard, recipient))
}

// DeliveryTo returns the subject of recipient's deliveries, who is local or not, with so
// many shards.
func (s Subjects) DeliveryTo(recipient presence.UserID, local bool, shards int) string {
	scope := Remote
	if local {
		scope = Local
	}
	return s.Delivery(scope, Shard(scope, recipient, shards), recipient)
}

// AppendDelivery appends Delivery(scope, shard, recipient) to dst.
func (s Subjects) AppendDelivery(dst []byte, scope Scope, shard int, recipient presence.UserID) []byte {
	dst = append(append(dst, s.deliver...), scope...)
	dst = strconv.AppendInt(append(dst, '.'), int64(shard), 10)
	return appendUser(append(dst, '.'), recipient)
}

// Deliveries returns the filter of all deliveries: presence.deliver.>.
func (s Subjects) Deliveries() string { return s.deliver + ">" }

// DeliveriesTo returns the filter of the deliveries to one remote server:
// presence.deliver.remote.*.<server>.*.
func (s Subjects) DeliveriesTo(server presence.ServerName) string {
	return s.deliver + string(Remote) + ".*." + EncodeToken(server.String()) + ".*"
}

// DeliveriesFor returns the filter of the deliveries for one recipient, whatever
// the scope and shard: presence.deliver.*.*.<server>.<localpart>.
func (s Subjects) DeliveriesFor(recipient presence.UserID) string {
	return string(appendUser([]byte(s.deliver+"*.*."), recipient))
}

// ParseDelivery returns what the subject of a delivery says.
func (s Subjects) ParseDelivery(subject string) (DeliverySubject, error) {
	parsed, err := s.parseDelivery(subject)
	if err != nil {
		return DeliverySubject{}, fmt.Errorf("parse subject %s: %w", quoteShort(subject), err)
	}
	return parsed, nil
}

func (s Subjects) parseDelivery(subject string) (DeliverySubject, error) {
	rest, found := strings.CutPrefix(subject, s.deliver)
	tokens := strings.SplitN(rest, ".", 3)
	if !found || len(tokens) != 3 {
		return DeliverySubject{}, fmt.Errorf("want %s<scope>.<shard>.<server>.<localpart>", s.deliver)
	}
	scope := Scope(tokens[0])
	if scope != Local && scope != Remote {
		return DeliverySubject{}, fmt.Errorf("scope is %s, want local or remote", quoteShort(tokens[0]))
	}
	shard, ok := parseIndex(tokens[1])
	if !ok {
		return DeliverySubject{}, fmt.Errorf("shard is %s, want a decimal number from 0 to 65535", quoteShort(tokens[1]))
	}
	recipient, err := parseUser(tokens[2])
	return DeliverySubject{Scope: scope, Shard: shard, Recipient: recipient}, err
}
