package sender_test

import (
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/sender"
	"github.com/presence-router/presence-router/stream/wire"
)

func server(name string) presence.ServerName { return presence.MustServerName(name) }

func shardOf(recipient string) int {
	return wire.Shard(wire.Remote, presence.MustUserID(recipient), 16)
}

func TestSharesSplitTheDestinations(t *testing.T) {
	t.Parallel()
	const zoe = "@zoe:elsewhere.net:8448"
	if shardOf(eva) == shardOf(zoe) {
		t.Fatal("both recipients are in one shard")
	}
	others := make([]int, 0, 16)
	for shard := range 16 {
		if shard != shardOf(zoe) {
			others = append(others, shard)
		}
	}
	tests := []struct {
		name      string
		share     sender.Share
		consumers int
		want      string
	}{
		{"all", sender.Share{}, 1, "both"},
		{"shards", sender.Share{Shards: others}, 15, "somewhere.org"},
		{"one destination", sender.Share{Destinations: []presence.ServerName{server("elsewhere.net:8448")}}, 1, "elsewhere.net:8448"},
		{"both destinations", sender.Share{Destinations: []presence.ServerName{server("elsewhere.net:8448"), server("somewhere.org")}}, 2, "both"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, far := newSite(t), newServers()
			c := config()
			c.Share = tt.share
			made := s.run(t, c, far.send)
			s.commit(t, eva, says(1, "first"))
			s.commit(t, zoe, says(1, "first"))
			for _, destination := range destinations(tt.want) {
				if b := far.next(t); tt.want != "both" && b.Destination.String() != destination {
					t.Errorf("sent is %s, want a batch to %s", show(b), destination)
				}
			}
			made.awaitHeld(t, 0)
			made.stop()
			far.wantNone(t)
			stream, err := s.js.Stream(t.Context(), s.subjects.DeliveriesStream())
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for info := range stream.ListConsumers(t.Context()).Info() {
				if found++; len(info.Config.FilterSubjects) > 0 || info.Config.FilterSubject == "" {
					t.Errorf("consumer %s has the filters %v, want one", info.Name, info.Config.FilterSubjects)
				}
			}
			if found != tt.consumers {
				t.Errorf("there are %d consumers, want %d", found, tt.consumers)
			}
		})
	}
}

func destinations(want string) []string {
	if want == "both" {
		return []string{"somewhere.org", "elsewhere.net:8448"}
	}
	return []string{want}
}

func TestOfTwoSendersOfOneShareOneWorks(t *testing.T) {
	t.Parallel()
	s, first, second := newSite(t), newServers(), newServers()
	c := config()
	one := s.run(t, c, first.send)
	s.commit(t, eva, says(1, "first"))
	first.next(t)
	s.run(t, c, second.send)
	for i := range uint64(20) {
		s.commit(t, eva, says(i+2, "later"))
		first.next(t)
	}
	second.wantNone(t)
	one.stop()
	s.commit(t, eva, says(30, "last"))
	wantBatch(t, second.next(t), entry("last"))
	first.wantNone(t)
}

func TestNewRefusesFaultyConfigs(t *testing.T) {
	t.Parallel()
	base := config()
	tests := []struct {
		name   string
		change func(*sender.Config)
		want   string
	}{
		{"no origin", func(c *sender.Config) { c.Origins = nil }, "origins is []: want at least one server name"},
		{"name with a dot", func(c *sender.Config) { c.Name = "a.b" }, `name is "a.b": want 1 to 64 of A-Z, a-z, 0-9, _ and -`},
		{"shard twice", func(c *sender.Config) { c.Share.Shards = []int{3, 3} }, "shards[1] is 3: want each shard once"},
		{"shard that none is", func(c *sender.Config) { c.Share.Shards = []int{-1} }, "shards[0] is -1: want 0 to 4095"},
		{
			"shards and destinations",
			func(c *sender.Config) {
				c.Share = sender.Share{Shards: []int{1}, Destinations: []presence.ServerName{server("a.org")}}
			},
			"destinations is [a.org]: want none where shards are listed",
		},
		{"offline before others", func(c *sender.Config) { c.OfflineTTL = time.Minute }, "offline_ttl is 1m0s: want 15m0s to 168h0m0s"},
		{"no room", func(c *sender.Config) { c.MaxStates = 0 }, "max_states is 0: want 1 to 10000000"},
		{"prefix", func(c *sender.Config) { c.Prefix = "a.b" }, `subject prefix is "a.b", want 1 to 32 of a-z, 0-9, _ and -`},
	}
	nc := natstest.Connect(t, natstest.Run(t).URL())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := base
			tt.change(&c)
			if _, err := sender.New(nc, c, newServers().send); err == nil || err.Error() != tt.want {
				t.Errorf("New() = %v, want %s", err, tt.want)
			}
		})
	}
}
