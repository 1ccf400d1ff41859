package wire_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

func BenchmarkDecodeUpdate(b *testing.B) {
	status := func(text string) []byte {
		return []byte(strings.Replace(fullUpdate, "lunch ☕", text, 1))
	}
	for _, bm := range []struct {
		name string
		data []byte
	}{
		{"bytes=250", status(strings.Repeat("x", 250-len(status(""))))},
		{"bytes=250/escapes", status(strings.Repeat(`\u2615`, (250-len(status("")))/6))},
		{"capture", capture(b)[2]},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bm.data)))
			for b.Loop() {
				if _, err := wire.DecodeUpdate(bm.data, 1, maxUpdateBytes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchDelivery(b *testing.B, states int, altered bool) wire.Delivery {
	b.Helper()
	d := wire.Delivery{Recipient: presence.MustUserID("@alice:example.com"), Epoch: 1795370000000}
	for i := range states {
		state := decode(b, fullUpdate, uint64(i)+1_000_000)
		if altered {
			state.LastActive++
		}
		d.States = append(d.States, state)
	}
	return d
}

func BenchmarkAppendDelivery(b *testing.B) {
	for _, states := range []int{1, 100} {
		for _, altered := range []bool{false, true} {
			b.Run("states="+strconv.Itoa(states)+"/altered="+strconv.FormatBool(altered), func(b *testing.B) {
				d := benchDelivery(b, states, altered)
				dst := wire.AppendDelivery(nil, d)
				b.ReportAllocs()
				b.SetBytes(int64(len(dst)))
				for b.Loop() {
					dst = wire.AppendDelivery(dst[:0], d)
				}
			})
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	for _, maxBytes := range []int{4 << 10, 512 << 10} {
		b.Run("bytes="+strconv.Itoa(maxBytes), func(b *testing.B) {
			d := benchDelivery(b, 100, false)
			b.ReportAllocs()
			for b.Loop() {
				for range d.Split(maxBytes) {
				}
			}
		})
	}
}

func BenchmarkDecodeDelivery(b *testing.B) {
	for _, states := range []int{1, 100} {
		b.Run("states="+strconv.Itoa(states), func(b *testing.B) {
			data := wire.AppendDelivery(nil, benchDelivery(b, states, false))
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := wire.DecodeDelivery(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSubject(b *testing.B) {
	s := subjects(b)
	user := presence.MustUserID("@jo.ann:matrix.org:8448")
	stored := "presence.update.3.matrix%2Eorg%3A8448.jo%2Eann"
	dst := make([]byte, 0, 256)
	b.Run("AppendDelivery", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = s.AppendDelivery(dst[:0], wire.Remote, 7, user)
		}
	})
	b.Run("NamesUser", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = s.NamesUser(stored, user)
		}
	})
	b.Run("ParseUpdate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.ParseUpdate(stored)
		}
	})
}

func BenchmarkPartition(b *testing.B) {
	user := presence.MustUserID("@jo.ann:matrix.org:8448")
	b.Run("Partition", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = wire.Partition(user, 16)
		}
	})
	b.Run("Shard", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = wire.Shard(wire.Remote, user, 16)
		}
	})
}
