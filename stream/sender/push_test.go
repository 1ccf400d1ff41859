package sender_test

import (
	"fmt"
	"testing"
)

func TestEntriesOfPush(t *testing.T) {
	t.Parallel()
	const now = 1795378782366
	tests := []struct {
		name, fields, want string
	}{
		{
			"online and active", `"state":"online","last_active_ts":1795378782000,"currently_active":true,"status_msg":"lunch ☕ <3"`,
			`{"currently_active":true,"last_active_ago":366,"presence":"online","status_msg":"lunch ☕ <3",%s}`,
		},
		{"online, nothing known", `"state":"online"`, `{"currently_active":false,"presence":"online","status_msg":"",%s}`},
		{
			"unavailable", `"state":"unavailable","last_active_ts":1795378700000,"currently_active":true`,
			`{"last_active_ago":82366,"presence":"unavailable","status_msg":"",%s}`,
		},
		{"offline, status cleared", `"state":"offline","status_msg":null`, `{"presence":"offline","status_msg":"",%s}`},
		{"busy", `"state":"org.matrix.msc3026.busy","status_msg":""`, `{"presence":"org.matrix.msc3026.busy","status_msg":"",%s}`},
		{
			"a clock that is ahead", `"state":"online","last_active_ts":1795378799999`,
			`{"currently_active":false,"last_active_ago":0,"presence":"online","status_msg":"",%s}`,
		},
	}
	s, far := newSite(t), newServers()
	fixedClock(t, s, far, now)
	for i, tt := range tests {
		s.commit(t, eva, of(i, tt.fields))
		wantBatch(t, far.next(t), fmt.Sprintf(tt.want, fmt.Sprintf(`"user_id":"@user%d:example.com"`, i)))
		if t.Failed() {
			t.Fatalf("%s", tt.name)
		}
	}
}

func TestOriginsHaveBatchesOfTheirOwn(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	c := config()
	c.Origins = append(c.Origins, server("example.net"))
	s.run(t, c, far.send)
	s.commit(t, eva, of(0, `"state":"online"`), state("@carol:example.net", 2, `"state":"online"`))
	got := map[string]string{}
	for range 2 {
		b := far.next(t)
		got[b.Origin.String()] = show(b)
	}
	for origin, user := range map[string]string{"example.com": "@user0:example.com", "example.net": "@carol:example.net"} {
		want := one("somewhere.org", fmt.Sprintf(`{"currently_active":false,"presence":"online","status_msg":"","user_id":%q}`, user))
		if got[origin] != want {
			t.Errorf("%s sends %s, want %s", origin, got[origin], want)
		}
	}
	s.awaitDone(t)
}
