package integration_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/routing/presence"
)

// load makes users, routes and updates out of random numbers.
type load struct {
	numbers *rand.Rand
	pool    int // recipients to choose from
	users   []presence.UserID
	readers map[presence.UserID][]presence.UserID // who gets the presence of a user
	made    int                                   // updates so far
	last    presence.UserID                       // user of the last one
}

// newLoad makes users with k recipients each, out of a fifth as many, some of them
// on other servers.
func newLoad(numbers *rand.Rand, users, k int) *load {
	l := &load{numbers: numbers, pool: max(2*k, users/5), readers: make(map[presence.UserID][]presence.UserID, users)}
	for n := range users {
		l.add(userOf("user", n), k)
	}
	numbers.Shuffle(len(l.users), func(i, j int) { l.users[i], l.users[j] = l.users[j], l.users[i] })
	return l
}

// add adds a user with k recipients.
func (l *load) add(user presence.UserID, k int) {
	l.users = append(l.users, user)
	for _, reader := range l.numbers.Perm(l.pool)[:k] {
		l.readers[user] = append(l.readers[user], readerOf(reader))
	}
}

// widen adds a user with many recipients.
func (l *load) widen(recipients int) presence.UserID {
	wide := userOf("wide", len(l.users))
	l.users = append(l.users, wide)
	for n := range recipients {
		l.readers[wide] = append(l.readers[wide], userOf("follower", n))
	}
	return wide
}

// userOf spells localparts in every way that tokens have to escape.
func userOf(name string, n int) presence.UserID {
	forms := []string{"%s%d", "%s.%d", "%s/%d=x", "%s-ü%d", "%s %d*>"}
	return presence.MustUserID(fmt.Sprintf("@"+forms[n%len(forms)]+":example.com", name, n))
}

func readerOf(n int) presence.UserID {
	if n%4 == 0 {
		return presence.MustUserID(fmt.Sprintf("@reader%d:far%d.example.org:8448", n, n%7))
	}
	return userOf("reader", n)
}

// updates makes the next n updates: every user has its turn, and in between are
// some of random users, often of the one before.
func (l *load) updates(n int) []integration.Update {
	updates := make([]integration.Update, n)
	for i := range updates {
		updates[i] = l.update(l.next())
	}
	return updates
}

func (l *load) next() presence.UserID {
	switch {
	case l.made%5 == 0:
		return l.users[l.made/5%len(l.users)]
	case l.last.IsZero() || l.numbers.IntN(3) > 0:
		return l.users[l.numbers.IntN(len(l.users))]
	default:
		return l.last
	}
}

// update makes the next update of one user.
func (l *load) update(user presence.UserID) integration.Update {
	l.made++
	l.last = user
	u := integration.Update{Number: l.made, User: user, Recipients: l.readers[user]}
	u.JSON = l.document(user, l.made)
	return u
}

// document spells updates in several ways, each different from every other: what
// is not the newest of several equal states would not be delivered.
func (l *load) document(user presence.UserID, number int) []byte {
	name, _ := json.Marshal(user)
	states := []string{"online", "unavailable", "offline", "busy", "org.example.away"}
	state := states[l.numbers.IntN(len(states))]
	active := 1795378782000 + number
	switch number % 3 {
	case 0:
		return fmt.Appendf(nil, `{"user_id":%s,"state":%q,"last_active_ts":%d,"last_federation_update_ts":0,"last_user_sync_ts":%d,"status_msg":"lunch ☕ \u00fc","currently_active":true,"number":%d}`,
			name, state, active, active, number)
	case 1:
		return fmt.Appendf(nil, ` { "number" : %d , "x": {"deep": [1, 2.50, "\n", null]}, "last_active_ts": %d, "state": %q,`+"\n\t"+` "user_id": %s } `,
			number, active, state, name)
	default:
		return fmt.Appendf(nil, `{"status_msg":null,"state":%q,"number":%d,"user_id":%s,"last_active_ts":%d,"currently_active":false}`,
			state, number, name, active)
	}
}

// configuration returns the configuration file; JSON is YAML.
func (l *load) configuration(tb testing.TB) []byte {
	tb.Helper()
	type route struct {
		Recipients []presence.UserID `json:"recipients"`
		Users      []presence.UserID `json:"users"`
	}
	routes := make([]route, len(l.users))
	for i, user := range l.users {
		routes[i] = route{Recipients: l.readers[user], Users: []presence.UserID{user}}
	}
	document, err := json.Marshal(map[string]any{
		"server_names": []string{"example.com"},
		"modules":      []any{map[string]any{"module": "static", "config": map[string]any{"routes": routes}}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return document
}
