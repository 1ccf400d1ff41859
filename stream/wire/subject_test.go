package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

func TestNewSubjectsRefuses(t *testing.T) {
	for _, prefix := range []string{"", "Presence", "a.b", "a b", "*", ">", strings.Repeat("a", 33)} {
		_, err := wire.NewSubjects(prefix)
		checkMessage(t, err, "subject prefix", `"`+prefix+`"`, "1 to 32 of a-z")
	}
}

func TestSubjects(t *testing.T) {
	s, err := wire.NewSubjects("pre-1_x")
	if err != nil {
		t.Fatal(err)
	}
	user := presence.MustUserID("@jo.ann:matrix.org:8448")
	tests := []struct{ name, got, want string }{
		{"Prefix", s.Prefix(), "pre-1_x"},
		{"Update", s.Update(user), "pre-1_x.update.matrix%2Eorg%3A8448.jo%2Eann"},
		{"AppendUpdate", string(s.AppendUpdate([]byte("x"), user)), "xpre-1_x.update.matrix%2Eorg%3A8448.jo%2Eann"},
		{"Updates", s.Updates(), "pre-1_x.update.*.*"},
		{"StoredUpdates", s.StoredUpdates(), "pre-1_x.*.*.*.*"},
		{"PartitionUpdates", s.PartitionUpdates(7), "pre-1_x.update.7.*.*"},
		{"UpdateTransform", s.UpdateTransform(16), "pre-1_x.update.{{partition(16,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"},
		{"GenerationUpdates", s.GenerationUpdates(), "pre-1_x.update.*.*.*"},
		{"GenerationUpdates of a later generation", s.In(12).GenerationUpdates(), "pre-1_x.update-g12.*.*.*"},
		{"PartitionUpdates of a later generation", s.In(12).PartitionUpdates(7), "pre-1_x.update-g12.7.*.*"},
		{"UpdateTransform of a later generation", s.In(1).UpdateTransform(24), "pre-1_x.update-g1.{{partition(24,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"},
		{"Checkpoint of a later generation", s.In(3).Checkpoint(12), "pre-1_x.checkpoint.g3-12"},
		{"Checkpoint of generation 0", s.In(3).In(0).Checkpoint(12), "pre-1_x.checkpoint.12"},
		{"LayoutRecord", s.LayoutRecord(), "$KV.PRE-1_X_WORKERS.deployment/layout"},
		{"State", s.State(user), "pre-1_x.state.matrix%2Eorg%3A8448.jo%2Eann"},
		{"States", s.States(), "pre-1_x.state.*.*"},
		{"StateTransform", s.StateTransform(), "pre-1_x.state.{{wildcard(3)}}.{{wildcard(4)}}"},
		{"Delivery", s.Delivery(wire.Local, 3, user), "pre-1_x.deliver.local.3.matrix%2Eorg%3A8448.jo%2Eann"},
		{"AppendDelivery", string(s.AppendDelivery([]byte("x"), wire.Remote, 15, user)), "xpre-1_x.deliver.remote.15.matrix%2Eorg%3A8448.jo%2Eann"},
		{"DeliveryTo a local user", s.DeliveryTo(user, true, 16), "pre-1_x.deliver.local.5.matrix%2Eorg%3A8448.jo%2Eann"},
		{"DeliveryTo a remote user", s.DeliveryTo(user, false, 16), "pre-1_x.deliver.remote.7.matrix%2Eorg%3A8448.jo%2Eann"},
		{"Deliveries", s.Deliveries(), "pre-1_x.deliver.>"},
		{"DeliveriesTo", s.DeliveriesTo(user.Server()), "pre-1_x.deliver.remote.*.matrix%2Eorg%3A8448.*"},
		{"DeliveriesFor", s.DeliveriesFor(user), "pre-1_x.deliver.*.*.matrix%2Eorg%3A8448.jo%2Eann"},
		{"Checkpoint", s.Checkpoint(12), "pre-1_x.checkpoint.12"},
		{"Checkpoints", s.Checkpoints(), "pre-1_x.checkpoint.*"},
		{"Dead", s.Dead(wire.TooLarge), "pre-1_x.dead.too_large"},
		{"DeadAll", s.DeadAll(), "pre-1_x.dead.*"},
		{"Service", s.Service(), "pre-1_x.router"},
		{"Query", s.Query(wire.InterestedUsers), "pre-1_x.router.interested_users"},
		{"UpdatesStream", s.UpdatesStream(), "PRE-1_X_UPDATES"},
		{"DeliveriesStream", s.DeliveriesStream(), "PRE-1_X_DELIVERIES"},
		{"DeadStream", s.DeadStream(), "PRE-1_X_DEAD"},
		{"StateStream", s.StateStream(), "PRE-1_X_STATE"},
		{"WorkersBucket", s.WorkersBucket(), "PRE-1_X_WORKERS"},
		{"WorkersStream", s.WorkersStream(), "KV_PRE-1_X_WORKERS"},
		{"Heartbeat", s.Heartbeat("w1"), "$KV.PRE-1_X_WORKERS.w1"},
		{"Heartbeats", s.Heartbeats(), "$KV.PRE-1_X_WORKERS.>"},
		{"empty localpart", s.Update(presence.MustUserID("@:a")), "pre-1_x.update.a.%"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("got %q, want %q", tt.got, tt.want)
			}
		})
	}
}

func TestReasonsAreTokens(t *testing.T) {
	for _, reason := range wire.Reasons() {
		if got := wire.EncodeToken(string(reason)); got != string(reason) {
			t.Errorf("reason %q is not a token", reason)
		}
	}
}

func TestParseUpdate(t *testing.T) {
	s := subjects(t)
	want := wire.Stored{User: presence.MustUserID("@jo.ann:matrix.org:8448"), Partition: 11}
	if got, err := s.ParseUpdate("presence.update.11.matrix%2Eorg%3A8448.jo%2Eann"); err != nil || got != want {
		t.Errorf("ParseUpdate = %v, %v, want %v", got, err, want)
	}
	want.Generation = 2
	if got, err := s.ParseUpdate("presence.update-g2.11.matrix%2Eorg%3A8448.jo%2Eann"); err != nil || got != want {
		t.Errorf("ParseUpdate = %v, %v, want %v", got, err, want)
	}
}

func TestParseUpdateRefuses(t *testing.T) {
	s := subjects(t)
	const want = "want presence.update.<partition>.<server>.<localpart>"
	tests := []struct{ name, subject, message string }{
		{"other prefix", "other.update.1.a.b", want},
		{"no prefix", "-g1.1.a.b", want},
		{"front door", "presence.update.a.b", want},
		{"too many tokens", "presence.update.1.a.b.c", want},
		{"generation 0 spelled out", "presence.update-g0.1.a.b", want},
		{"two spellings of a generation", "presence.update-g01.1.a.b", want},
		{"other mark than that of a generation", "presence.update-1.1.a.b", want},
		{"generation without a partition", "presence.update-g1.a.b", want},
		{"two spellings of a partition", "presence.update.01.a.b", want},
		{"signed partition", "presence.update.+1.a.b", want},
		{"huge partition", "presence.update.65536.a.b", want},
		{"empty partition", "presence.update..a.b", want},
		{"lower-case hex", "presence.update.1.matrix%2eorg.b", "invalid subject token"},
		{"no server name", "presence.update.1.%.b", "invalid user ID"},
		{"underscore in the server name", "presence.update.1.a_b.c", "invalid user ID"},
		{"colon in the localpart", "presence.update.1.a.b%3A1", "has a colon"},
		{"NUL in the localpart", "presence.update.1.a.%00", "NUL"},
		{"too long a user ID", "presence.update.1.a." + strings.Repeat("b", 255), "at most 255"},
		{"empty", "", want},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := s.ParseUpdate(tt.subject)
			if got != (wire.Stored{}) {
				t.Errorf("ParseUpdate(%q) = %v beside an error", tt.subject, got)
			}
			checkMessage(t, err, "parse subject", tt.message)
		})
	}
}

func TestParseFrontDoor(t *testing.T) {
	s := subjects(t)
	user := presence.MustUserID("@:[::1]:80")
	if got, err := s.ParseFrontDoor(s.Update(user)); err != nil || got != user {
		t.Errorf("ParseFrontDoor(%q) = %v, %v, want %v", s.Update(user), got, err, user)
	}
	for _, subject := range []string{"presence.update.1.a.b", "presence.update.a", "presence.deliver.a.b", "presence.update.a."} {
		_, err := s.ParseFrontDoor(subject)
		checkMessage(t, err, "parse subject", subject)
	}
}

func TestParseState(t *testing.T) {
	s := subjects(t)
	user := presence.MustUserID("@jo.ann:example.com")
	if got, err := s.ParseState(s.State(user)); err != nil || got != user {
		t.Errorf("ParseState(%q) = %v, %v, want %v", s.State(user), got, err, user)
	}
	for _, subject := range []string{"presence.update.a.b", "presence.state.a", "presence.state.a.b.c"} {
		_, err := s.ParseState(subject)
		checkMessage(t, err, "parse subject", subject)
	}
}

func TestNamesUser(t *testing.T) {
	s := subjects(t)
	user := presence.MustUserID("@jo.ann:example.com")
	tests := []struct {
		name, subject string
		want          bool
	}{
		{"stored", "presence.update.3.example%2Ecom.jo%2Eann", true},
		{"other generation", "presence.update-g7.4.example%2Ecom.jo%2Eann", true},
		{"no generation", "presence.update-x.4.example%2Ecom.jo%2Eann", false},
		{"other partition", "presence.update.4.example%2Ecom.jo%2Eann", true},
		{"other user", "presence.update.3.example%2Ecom.jo", false},
		{"other server", "presence.update.3.example%2Eorg.jo%2Eann", false},
		{"other spelling", "presence.update.3.example%2ecom.jo%2Eann", false},
		{"front door", "presence.update.example%2Ecom.jo%2Eann", false},
		{"no partition", "presence.update.x.example%2Ecom.jo%2Eann", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := s.NamesUser(tt.subject, user); got != tt.want {
				t.Errorf("NamesUser(%q, %s) = %t, want %t", tt.subject, user, got, tt.want)
			}
		})
	}
}

func TestFrontDoor(t *testing.T) {
	s := subjects(t)
	tests := []struct {
		name, stored, want string
		ok                 bool
	}{
		{"stored", "presence.update.3.a%2Eb.c", "presence.update.a%2Eb.c", true},
		{"stored in a later generation", "presence.update-g1.3.a%2Eb.c", "presence.update.a%2Eb.c", true},
		{"tokens that name nobody", "presence.update.3.%zz.c", "presence.update.%zz.c", true},
		{"front door", "presence.update.a.c", "", false},
		{"no partition", "presence.update.x.a.c", "", false},
		{"delivery", "presence.deliver.local.3.a.c", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := s.FrontDoor(tt.stored); got != tt.want || ok != tt.ok {
				t.Errorf("FrontDoor(%q) = %q, %t, want %q, %t", tt.stored, got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestParseCheckpoint(t *testing.T) {
	s := subjects(t)
	for _, want := range []struct{ generation, partition int }{{0, 15}, {1, 0}, {12, 255}} {
		subject := s.In(want.generation).Checkpoint(want.partition)
		generation, partition, err := s.ParseCheckpoint(subject)
		if err != nil || generation != want.generation || partition != want.partition {
			t.Errorf("ParseCheckpoint(%q) = %d, %d, %v, want %v", subject, generation, partition, err, want)
		}
	}
	for _, token := range []string{"", "x", "007", "g1", "g0-1", "g01-1", "g1-", "g1-01", "1-1", "-g1-1", "g1-1-1"} {
		subject := "presence.checkpoint." + token
		_, _, err := s.ParseCheckpoint(subject)
		checkMessage(t, err, subject, "want presence.checkpoint.<partition> or presence.checkpoint.g<generation>-<partition>")
	}
	_, _, err := s.ParseCheckpoint("3")
	checkMessage(t, err, `"3"`)
}

func TestParseDelivery(t *testing.T) {
	s := subjects(t)
	want := wire.DeliverySubject{Scope: wire.Remote, Shard: 4095, Recipient: presence.MustUserID("@jo.ann:[::1]:8448")}
	subject := s.Delivery(want.Scope, want.Shard, want.Recipient)
	if got, err := s.ParseDelivery(subject); err != nil || got != want {
		t.Errorf("ParseDelivery(%q) = %v, %v, want %v", subject, got, err, want)
	}
}

func TestParseDeliveryRefuses(t *testing.T) {
	s := subjects(t)
	tests := []struct{ name, subject, message string }{
		{"other prefix", "x.deliver.local.1.a.b", "want presence.deliver.<scope>"},
		{"too few tokens", "presence.deliver.local.1", "want presence.deliver.<scope>"},
		{"no localpart", "presence.deliver.local.1.a", "a server token and a localpart token"},
		{"too many tokens", "presence.deliver.local.1.a.b.c", "invalid subject token"},
		{"scope", "presence.deliver.nearby.1.a.b", `scope is "nearby", want local or remote`},
		{"shard", "presence.deliver.local.1x.a.b", `shard is "1x", want a decimal number`},
		{"recipient", "presence.deliver.local.1.a_b.c", "invalid user ID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := s.ParseDelivery(tt.subject)
			if got != (wire.DeliverySubject{}) {
				t.Errorf("ParseDelivery(%q) = %v beside an error", tt.subject, got)
			}
			checkMessage(t, err, "parse subject", tt.message)
		})
	}
}

func TestAppendSubjectsAllocateNothing(t *testing.T) {
	s := subjects(t)
	user := presence.MustUserID("@jo.ann:matrix.org:8448")
	stored := "presence.update.3.matrix%2Eorg%3A8448.jo%2Eann"
	dst := make([]byte, 0, 256)
	allocs := testing.AllocsPerRun(100, func() {
		dst = s.AppendDelivery(dst[:0], wire.Local, wire.Shard(wire.Local, user, 16), user)
		dst = s.AppendUpdate(dst[:0], user)
		if !s.NamesUser(stored, user) {
			t.Error("the subject does not name its user")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

func FuzzSubject(f *testing.F) {
	f.Add("jo.ann", "matrix.org:8448", "presence.update.3.matrix%2Eorg.bob")
	f.Add("", "[::1]", "presence.deliver.remote.15.a.%")
	f.Add("a b>*.\xff", "1.2.3.4", "presence.update.a.b")
	s := subjects(f)
	f.Fuzz(func(t *testing.T, localpart, serverName, subject string) {
		checkUserSubjects(t, s, localpart, serverName)
		if user, err := s.ParseFrontDoor(subject); err == nil && s.Update(user) != subject {
			t.Errorf("ParseFrontDoor(%q) = %s, whose subject is %q", subject, user, s.Update(user))
		}
		stored, err := s.ParseUpdate(subject)
		if err == nil && !s.NamesUser(subject, stored.User) {
			t.Errorf("ParseUpdate(%q) = %v, but NamesUser says no", subject, stored)
		}
		d, err := s.ParseDelivery(subject)
		if err == nil && s.Delivery(d.Scope, d.Shard, d.Recipient) != subject {
			t.Errorf("ParseDelivery(%q) = %v, whose subject is %q", subject, d, s.Delivery(d.Scope, d.Shard, d.Recipient))
		}
	})
}

func checkUserSubjects(t *testing.T, s wire.Subjects, localpart, serverName string) {
	t.Helper()
	server, serverErr := presence.ParseServerName(serverName)
	user, err := presence.NewUserID(localpart, server)
	if errors.Join(serverErr, err) != nil {
		return
	}
	subject := s.Update(user)
	if strings.Count(subject, ".") != 3 || strings.ContainsAny(subject, "*> \t\r\n\x00") {
		t.Errorf("subject %q of %q is not one token for server and localpart each", subject, user)
	}
	if got, err := s.ParseFrontDoor(subject); err != nil || got != user {
		t.Errorf("ParseFrontDoor(%q) = %q, %v, want %q", subject, got, err, user)
	}
	subject = s.Delivery(wire.Local, 5, user)
	if got, err := s.ParseDelivery(subject); err != nil || got != (wire.DeliverySubject{Scope: wire.Local, Shard: 5, Recipient: user}) {
		t.Errorf("ParseDelivery(%q) = %v, %v, want %q", subject, got, err, user)
	}
	stored := s.PartitionUpdates(9)
	stored = stored[:len(stored)-len("*.*")] + strings.TrimPrefix(s.Update(user), "presence.update.")
	if !s.NamesUser(stored, user) {
		t.Errorf("NamesUser(%q, %q) = false", stored, user)
	}
	if got, err := s.ParseUpdate(stored); err != nil || got != (wire.Stored{User: user, Partition: 9}) {
		t.Errorf("ParseUpdate(%q) = %v, %v, want %q", stored, got, err, user)
	}
}
