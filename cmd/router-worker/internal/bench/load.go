package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

const serverName = "example.com"

// load makes users, routes and updates out of the same random numbers each time.
type load struct {
	workload Case
	subjects wire.Subjects
	numbers  *rand.Rand
	turns    []int // the users in the order in which they have their turn, again and again
}

func newLoad(c Case, subjects wire.Subjects, seed uint64) *load {
	numbers := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // Nobody is to be surprised.
	return &load{workload: c, subjects: subjects, numbers: numbers, turns: numbers.Perm(c.Users)}
}

// route is one route of the static module.
type route struct {
	Recipients []string `json:"recipients"`
	Users      []string `json:"users"`
}

// routes returns a route for every user, or one for all where they fan in.
func (l *load) routes() []route {
	if l.workload.FanIn {
		all := route{Recipients: make([]string, l.workload.Recipients), Users: make([]string, l.workload.Users)}
		for i := range all.Recipients {
			all.Recipients[i] = recipientName(i)
		}
		for i := range all.Users {
			all.Users[i] = userName(i)
		}
		return []route{all}
	}
	routes := make([]route, l.workload.Users)
	for user := range routes {
		routes[user] = route{Recipients: l.draw(), Users: []string{userName(user)}}
	}
	return routes
}

// draw returns the recipients of one user, none twice.
func (l *load) draw() []string {
	drawn := make([]string, 0, l.workload.Recipients)
	seen := make(map[int]bool, l.workload.Recipients)
	for len(drawn) < l.workload.Recipients {
		n := l.numbers.IntN(pool)
		if !seen[n] {
			seen[n] = true
			drawn = append(drawn, recipientName(n))
		}
	}
	return drawn
}

func userName(n int) string { return "@user" + strconv.Itoa(n) + ":" + serverName }

func recipientName(n int) string { return "@reader" + strconv.Itoa(n) + ":" + serverName }

// update is one update on its way to the server.
type update struct {
	subject   string
	data      []byte
	partition int
}

// update returns the n-th update. No two are the same, and the updates of one user
// are far apart.
func (l *load) update(n int) update {
	name := userName(l.turns[n%len(l.turns)])
	user := presence.MustUserID(name)
	return update{
		subject: l.subjects.Update(user), data: document(name, n),
		partition: wire.Partition(user, l.workload.Partitions),
	}
}

// document returns an update of about 250 bytes.
func document(user string, n int) []byte {
	const began = 1795378782366
	return fmt.Appendf(nil, `{"user_id":%q,"state":"online","last_active_ts":%d,"last_federation_update_ts":%d,"last_user_sync_ts":%d,`+
		`"status_msg":"in a meeting until three, then out for lunch ☕","currently_active":true}`, user, began+n, began-60_000, began+n)
}

// delivery returns a delivery of one state to a random recipient, as a worker makes
// it, and its subject.
func (l *load) delivery(n int) (subject string, data []byte, err error) {
	recipient := presence.MustUserID(recipientName(l.numbers.IntN(pool)))
	const epoch, shards = 1795378780000, 16
	state, err := wire.DecodeUpdate(document(userName(n), n), uint64(n)+1, 64<<10) //nolint:gosec // A count is not negative.
	if err != nil {
		return "", nil, err
	}
	data = wire.AppendDelivery(nil, wire.Delivery{Recipient: recipient, Epoch: epoch, States: []presence.UserState{state}})
	return l.subjects.Delivery(wire.Local, wire.Shard(wire.Local, recipient, shards), recipient), data, nil
}

// raw is a message as it is published.
type raw struct {
	subject string
	data    []byte
}

// deliveries returns enough different deliveries to publish them in turn.
func (l *load) deliveries() ([]raw, error) {
	const different = 10_000
	messages := make([]raw, different)
	for n := range messages {
		subject, data, err := l.delivery(n)
		if err != nil {
			return nil, err
		}
		messages[n] = raw{subject: subject, data: data}
	}
	return messages, nil
}
