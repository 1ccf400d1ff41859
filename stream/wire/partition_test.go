package wire_test

import (
	"encoding/json"
	"hash/fnv"
	"strconv"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// vector is one line of testdata/partitions.json, for those who compute partitions
// in another language.
type vector struct {
	UserID      string `json:"user_id"`
	Hashed      string `json:"hashed"` // server token and localpart token run together
	Partition   int    `json:"partition_of_16"`
	LocalShard  int    `json:"local_shard_of_16"`
	RemoteShard int    `json:"remote_shard_of_16"`
}

func fnvBucket(s string, buckets uint32) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return int(h.Sum32() % buckets)
}

func vectorOf(user presence.UserID) vector {
	server := wire.EncodeToken(user.Server().String())
	hashed := server + wire.EncodeToken(user.Localpart())
	return vector{
		UserID: user.String(), Hashed: hashed, Partition: fnvBucket(hashed, 16),
		LocalShard: fnvBucket(hashed, 16), RemoteShard: fnvBucket(server, 16),
	}
}

func TestPartitionVectors(t *testing.T) {
	var vectors []vector
	for _, id := range []string{
		"@alice:example.com", "@bob:example.com", "@charlie:somewhere.org", "@jo.ann:matrix.org:8448",
		"@:example.com", "@a:[2001:db8::1]:8448", "@zoë ☕:example.com", "@a=b/c+d~e@f_g-h:1.2.3.4", "@%2E:example.com",
	} {
		user := presence.MustUserID(id)
		want := vectorOf(user)
		got := want
		got.Partition = wire.Partition(user, 16)
		got.LocalShard = wire.Shard(wire.Local, user, 16)
		got.RemoteShard = wire.Shard(wire.Remote, user, 16)
		if got != want {
			t.Errorf("got %+v, hash/fnv says %+v", got, want)
		}
		vectors = append(vectors, got)
	}
	data, err := json.MarshalIndent(vectors, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "partitions.json", data)
}

func TestPartitionOfCapture(t *testing.T) {
	for _, line := range capture(t) {
		user := decode(t, string(line), 1).UserID
		hashed := vectorOf(user).Hashed
		for _, n := range []uint32{1, 3, 16, 256, 4096} {
			if got, want := wire.Partition(user, int(n)), fnvBucket(hashed, n); got != want {
				t.Errorf("Partition(%s, %d) = %d, want %d", user, n, got, want)
			}
		}
	}
}

func TestPartitionPanicsWithoutPartitions(t *testing.T) {
	for _, partitions := range []int{0, -1} {
		t.Run(strconv.Itoa(partitions), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Errorf("Partition(user, %d) did not panic", partitions)
				}
			}()
			wire.Partition(presence.MustUserID("@a:b"), partitions)
		})
	}
}
