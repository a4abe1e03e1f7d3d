package session

import (
	"fmt"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/broker"
)

// BenchmarkSave saves a node's thousand sessions, and as they mostly are saved,
// their subscriptions as they were.
func BenchmarkSave(b *testing.B) {
	for _, subs := range []string{"all", "without subscriptions"} {
		b.Run(subs, func(b *testing.B) { benchmarkSave(b, subs == "all") })
	}
}

func benchmarkSave(b *testing.B, subs bool) {
	s := redistest.Start(b)
	k := NewKeeper(Config{Client: s.Client(), Node: "n1"})
	list := make([]broker.Saved, 1000)
	for i := range list {
		list[i] = full(saved(fmt.Sprint("c", i), "o"))
		if _, _, err := k.Open(b.Context(), list[i], false, 0); err != nil {
			b.Fatal(err)
		}
		if !subs {
			list[i].Subscriptions = nil
		}
	}
	for n := int64(1); b.Loop(); n++ {
		for i := range list {
			list[i].Seq = n
		}
		for _, err := range k.Save(b.Context(), list) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(list)), "µs/session")
}

// BenchmarkClaim claims a hundred messages and settles them.
func BenchmarkClaim(b *testing.B) {
	s := redistest.Start(b)
	n := NewShare(s.Client(), auth.Keyspace{})
	members, start := []broker.Member{{Key: member("a"), Keep: time.Hour}}, func(broker.Stream) broker.Position { return at(0) }
	if _, err := n.Join(b.Context(), workers, first, members, start); err != nil {
		b.Fatal(err)
	}
	ids := make([]broker.ID, 100)
	for pos := uint64(0); b.Loop(); pos += 100 {
		for i := range ids {
			ids[i] = id(pos + uint64(i) + 1)
		}
		if _, ok, err := n.Claim(b.Context(), workers, 0, at(pos), at(pos+100), ids); err != nil || !ok {
			b.Fatal(ok, err)
		}
		if err := n.Settle(b.Context(), workers, 0, ids); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(ids)), "µs/message")
}

// BenchmarkJoin renews a group on all streams of a store with many partitions.
func BenchmarkJoin(b *testing.B) {
	s := redistest.Start(b)
	n := NewShare(s.Client(), auth.Keyspace{Partitions: 4096})
	streams, start := n.keys.streamsOf("#"), func(broker.Stream) broker.Position { return at(0) }
	members := make([]broker.Member, 10)
	for i := range members {
		members[i] = broker.Member{Key: member(fmt.Sprint("client-", i)), Keep: time.Hour}
	}
	for b.Loop() {
		if _, err := n.Join(b.Context(), workers, streams, members, start); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(streams)), "µs/stream")
}
