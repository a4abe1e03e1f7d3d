package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/broker"
)

var workers = broker.ShareKey{App: "ui", AppCreated: 1600000000000, Name: "workers", Filter: "uplinks/IMEI/+"}

const (
	shareHash   = "m2m:{0}:share:uplinks:ui/1600000000000/workers/uplinks/IMEI/+"
	shareClaims = "m2m:{0}:claims:uplinks:ui/1600000000000/workers/uplinks/IMEI/+"
	shareEntry  = "uplinks:ui/1600000000000/workers/uplinks/IMEI/+"
)

var first = []broker.Stream{0}

func shareOf(app string, created int64, name, filter string) broker.ShareKey {
	return broker.ShareKey{App: app, AppCreated: created, Name: name, Filter: filter}
}

func member(client string) broker.SessionKey { return broker.SessionKey{App: "ui", ClientID: client} }

func (b *bench) join(s *Share, client string, keep time.Duration, start broker.Position) broker.Position {
	b.t.Helper()
	return b.joinAll(s, workers, start, broker.Member{Key: member(client), Keep: keep})
}

// joinAll has members join on the first stream.
func (b *bench) joinAll(s *Share, k broker.ShareKey, start broker.Position, members ...broker.Member) broker.Position {
	b.t.Helper()
	got, err := s.Join(b.t.Context(), k, first, members, func(broker.Stream) broker.Position { return start })
	b.check(err)
	return got[0]
}

func (b *bench) claim(s *Share, from, to uint64, ids ...broker.ID) {
	b.t.Helper()
	got, ok, err := s.Claim(b.t.Context(), workers, 0, at(from), at(to), ids)
	if err != nil || !ok || got != at(to) {
		b.t.Fatalf("claim: %v, %v, %v", got, ok, err)
	}
}

// lapse has claims' time run out.
func (b *bench) lapse(ids ...broker.ID) {
	b.t.Helper()
	for i, id := range ids {
		b.check(b.client.ZAddXX(b.t.Context(), shareClaims, redis.Z{Score: float64(100 - i), Member: id.String()}).Err())
	}
}

func TestShareStates(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		n1, n2, ctx := b.share(), b.share(), t.Context()
		if got := b.join(n1, "a", time.Minute, at(5)); got != at(5) {
			t.Errorf("starts at %v", got)
		}
		if got := b.join(n2, "b/{x}", time.Hour, at(9)); got != at(5) {
			t.Errorf("the second finds %v", got)
		}
		b.join(n2, "b/{x}", time.Hour, at(10))
		members := "m:ui/a=now+1m0s m:ui/b/{x}=now+1h0m0s n=5 until=now+1h0m0s until now+1h0m0s"
		b.want(state{shareHash: "at=1700000000000-5 " + members, "m2m:{0}:shares": shareEntry})

		b.claim(n1, 5, 9, id(6), id(8))
		members = "m:ui/a=now+1m0s m:ui/b/{x}=now+1h0m0s n=9 until=now+1h0m0s until now+1h0m0s"
		b.want(state{
			shareHash: "at=1700000000000-9 " + members, "m2m:{0}:shares": shareEntry,
			shareClaims: "1700000000000-6@now+15s 1700000000000-8@now+15s until now+1h0m0s",
		})
		b.check(n1.Settle(ctx, workers, 0, []broker.ID{id(6)}))
		b.check(n1.Release(ctx, workers, 0, []broker.ID{id(8)}))
		b.want(state{
			shareHash: "at=1700000000000-9 " + members, "m2m:{0}:shares": shareEntry,
			shareClaims: "1700000000000-8@0 until now+1h0m0s",
		})
		b.check(n2.Renew(ctx, workers, 0, []broker.ID{id(8), id(7)}))
		b.want(state{
			shareHash: "at=1700000000000-9 " + members, "m2m:{0}:shares": shareEntry,
			shareClaims: "1700000000000-7@now+15s 1700000000000-8@now+15s until now+1h0m0s",
		})
		b.check(n1.Settle(ctx, workers, 0, []broker.ID{id(7)}))
		b.check(n1.Leave(ctx, workers, first, member("a")))
		b.want(state{
			shareHash: "at=1700000000000-9 m:ui/b/{x}=now+1h0m0s n=9 until=now+1h0m0s until now+1h0m0s", "m2m:{0}:shares": shareEntry,
			shareClaims: "1700000000000-8@now+15s until now+1h0m0s",
		})
		b.check(n2.Leave(ctx, workers, first, member("b/{x}")))
		b.want(state{})
		b.check(n2.Leave(ctx, workers, first, member("b/{x}")))
		if _, _, err := n1.Claim(ctx, workers, 0, at(9), at(10), nil); !errors.Is(err, ErrEnded) {
			t.Errorf("claim of nothing: %v", err)
		}
	})
}

// The longest membership says how long there is a subscription; when it ends,
// the next longest does.
func TestShareIsKeptForItsMembers(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		n := b.share()
		b.joinAll(n, workers, at(5), broker.Member{Key: member("a"), Keep: time.Minute}, broker.Member{Key: member("b"), Keep: time.Hour})
		b.claim(n, 5, 6, id(6))
		want := func(until string) {
			t.Helper()
			for _, key := range []string{shareHash, shareClaims} {
				if got := b.value(key); !strings.HasSuffix(got, " until now+"+until) {
					t.Errorf("%s: %s, want until %s", key, got, until)
				}
			}
		}
		want("1h0m0s")
		b.join(n, "b", 2*time.Minute, at(0)) // shorter
		want("2m0s")
		b.check(n.Leave(t.Context(), workers, first, member("b")))
		want("1m0s")
		if got := b.joinAll(n, workers, at(0)); got != at(6) {
			t.Errorf("without anybody: %v", got)
		}
	})
}

// A share of an app that was removed is not that of the next one of its name.
func TestSharesAreApart(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		n, ctx := b.share(), t.Context()
		made := workers.AppCreated
		for i, k := range []broker.ShareKey{
			workers, shareOf("ui", made+1, "workers", "uplinks/IMEI/+"), shareOf("u2", made, "workers", "uplinks/IMEI/+"),
			shareOf("ui", made, "others", "uplinks/IMEI/+"), shareOf("ui", made, "workers", "uplinks/IMEI/+:claims"),
		} {
			streams := []broker.Stream{0, 1, 2}
			start := func(s broker.Stream) broker.Position { return at(uint64(i*10 + int(s))) }
			got, err := n.Join(ctx, k, streams, []broker.Member{{Key: member("a"), Keep: time.Minute}}, start)
			if d := cmp.Diff([]broker.Position{start(0), start(1), start(2)}, got); err != nil || d != "" {
				t.Errorf("%v: %v %s", k, err, d)
			}
			for _, stream := range streams {
				if _, ok, err := n.Claim(ctx, k, stream, start(stream), start(stream), []broker.ID{id(1)}); !ok || err != nil {
					t.Errorf("%v on %d: %v, %v", k, stream, ok, err)
				}
			}
		}
	})
}

// Redis was away, or lost all it had, for longer than any member's deadline:
// what a node holds is still its own, and goes to another when it lets it go.
func TestClaimsAreMadeAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		n1, n2, ctx := b.share(), b.share(), t.Context()
		held := []broker.ID{id(6), id(8)}
		b.join(n1, "a", time.Minute, at(5))
		b.claim(n1, 5, 9, held...)
		b.check(b.client.FlushDB(ctx).Err())
		b.check(n1.Renew(ctx, workers, 0, held)) // before anybody is a member again
		b.want(state{})
		b.join(n2, "b", time.Hour, at(9))
		b.join(n1, "a", time.Minute, at(9))
		b.check(n1.Renew(ctx, workers, 0, held))
		b.want(state{
			shareHash:   "at=1700000000000-9 m:ui/a=now+1m0s m:ui/b=now+1h0m0s n=9 until=now+1h0m0s until now+1h0m0s",
			shareClaims: "1700000000000-6@now+15s 1700000000000-8@now+15s until now+1h0m0s", "m2m:{0}:shares": shareEntry,
		})
		if ids, err := n2.Reclaim(ctx, workers, 0, 10); err != nil || len(ids) != 0 {
			t.Errorf("reclaimed %v, %v", ids, err)
		}
		b.check(n1.Release(ctx, workers, 0, held))
		if ids, err := n2.Reclaim(ctx, workers, 0, 10); err != nil || !slices.Equal(ids, held) {
			t.Errorf("let go: %v, %v", ids, err)
		}
		b.check(b.client.Del(ctx, shareClaims).Err())
		b.check(n1.Release(ctx, workers, 0, held)) // right after the outage
		if ids, err := n2.Reclaim(ctx, workers, 0, 10); err != nil || !slices.Equal(ids, held) {
			t.Errorf("let go without having been renewed: %v, %v", ids, err)
		}
	})
}

func TestManyMembers(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		n, ctx := b.share(), t.Context()
		var members []broker.Member
		for i := range 2500 { // more than unpack takes
			members = append(members, broker.Member{Key: member(fmt.Sprint(strings.Repeat("x", i%100), i)), Keep: time.Minute})
		}
		b.joinAll(n, workers, at(5), members...)
		fields := b.client.HKeys(ctx, shareHash).Val()
		if len(fields) != len(members)+3 { // at, n, until
			t.Errorf("%d fields", len(fields))
		}
		for _, f := range fields {
			if len(f) > maxMemberName+len("m:") {
				t.Errorf("field of %d bytes", len(f))
			}
		}
		for i, m := range members[:2400] {
			if i%2 == 0 {
				b.check(b.client.HSet(ctx, shareHash, memberField(m.Key), 1).Err())
			}
		}
		b.joinAll(n, workers, at(7), members[2400:]...)
		if n := b.client.HLen(ctx, shareHash).Val(); n != 1300+3 {
			t.Errorf("%d fields when 1200 have lapsed", n)
		}
		b.check(n.Leave(ctx, workers, first, members[2499].Key))
		if n := b.client.HLen(ctx, shareHash).Val(); n != 1299+3 {
			t.Errorf("%d fields when one has left", n)
		}
	})
}

// A group on all streams of a store with as many partitions as there may be.
func TestJoinManyStreams(t *testing.T) {
	b := newBench(t, redistest.Start(t))
	n, ctx := NewShare(b.client, auth.Keyspace{Partitions: 4096}), t.Context()
	count := &counter{}
	b.client.AddHook(count)
	streams := n.keys.streamsOf("#")
	members := []broker.Member{{Key: member("a"), Keep: time.Minute}, {Key: member("b"), Keep: time.Hour}}
	for _, round := range []string{"first", "again"} {
		*count = counter{}
		start := time.Now()
		got, err := n.Join(ctx, workers, streams, members, func(s broker.Stream) broker.Position { return at(uint64(s)) })
		if err != nil || len(got) != 4*4096 || got[777] != at(777) {
			t.Fatalf("%s: %d, %v", round, len(got), err)
		}
		t.Logf("%s: %d commands in %d round trips, %v", round, count.commands, count.trips, time.Since(start))
		if count.trips > len(streams)/streamChunk+2 || count.commands > len(streams)+2*streamChunk { // the first chunk brings the script
			t.Errorf("%s: %d commands in %d round trips", round, count.commands, count.trips)
		}
	}
	b.check(n.Leave(ctx, workers, streams, member("a")))
	b.check(n.Leave(ctx, workers, streams, member("b")))
	b.want(state{})
}

func TestJoinStartsAnewWhenAllAreGone(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		n := b.share()
		b.join(n, "a", time.Minute, at(5))
		b.join(n, "b", time.Minute, at(5))
		b.claim(n, 5, 7, id(6))
		dead := func(client string) {
			b.check(b.client.HSet(t.Context(), shareHash, "m:ui/"+client, 1).Err())
		}
		dead("a")
		if got := b.join(n, "c", time.Hour, at(20)); got != at(7) {
			t.Errorf("with one left: %v", got)
		}
		dead("b")
		dead("c")
		unknown := broker.Position{ID: id(20), N: broker.Unknown}
		if got := b.join(n, "d", time.Hour, unknown); got != unknown {
			t.Errorf("with none left: %v", got)
		}
		b.want(state{
			shareHash:        "at=1700000000000-20 m:ui/d=now+1h0m0s n=? until=now+1h0m0s until now+1h0m0s",
			"m2m:{0}:shares": shareEntry,
		})
	})
}

func TestClaimIsCompareAndSet(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		n, ctx := b.share(), t.Context()
		b.join(n, "a", time.Minute, at(5))
		b.claim(n, 5, 7, id(6))
		if got, ok, err := n.Claim(ctx, workers, 0, at(5), at(8), []broker.ID{id(8)}); err != nil || ok || got != at(7) {
			t.Errorf("from where it was: %v, %v, %v", got, ok, err)
		}
		// The reply to a claim is lost, and it is sent again.
		n.newOp = func() string { return "once" }
		b.claim(n, 7, 9, id(9))
		b.claim(n, 7, 9, id(9))
		if ids := b.client.ZRange(ctx, shareClaims, 0, -1).Val(); !slices.Equal(ids, []string{id(6).String(), id(9).String()}) {
			t.Errorf("claims %v", ids)
		}
	})
}

func TestReclaim(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		dead, n, ctx := b.share(), b.share(), t.Context()
		b.join(dead, "a", time.Minute, at(0))
		b.join(n, "b", time.Minute, at(0))
		b.claim(dead, 0, 12, id(12), id(2), id(10), id(9), id(11))
		if ids, err := n.Reclaim(ctx, workers, 0, 10); err != nil || len(ids) != 0 {
			t.Fatalf("claims of a living node: %v, %v", ids, err)
		}
		b.lapse(id(2), id(9), id(10), id(12)) // the youngest lapsed first
		b.check(n.Release(ctx, workers, 0, []broker.ID{id(11)}))
		for _, want := range [][]broker.ID{{id(2), id(9), id(10)}, {id(11), id(12)}, {}} {
			got, err := n.Reclaim(ctx, workers, 0, 3)
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Errorf("%v %s", err, d)
			}
		}
		b.check(n.Settle(ctx, workers, 0, []broker.ID{id(2), id(9), id(10), id(11), id(12)}))
		if left := b.client.ZCard(ctx, shareClaims).Val(); left != 0 {
			t.Errorf("%d claims left", left)
		}
	})
}

// Two nodes with many goroutines share a stream of messages; some claim and
// die, and others take over what they had.
func TestEveryMessageIsClaimedOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		nodes := []*Share{b.share(), newBench(t, s).share()}
		const last, step = 1000, 7
		b.join(nodes[0], "a", time.Hour, at(0))
		var mu sync.Mutex
		claimed, lost := map[broker.ID]int{}, []broker.ID{}
		var wg sync.WaitGroup
		for g := range 16 {
			wg.Go(func() {
				pos := at(0)
				for pos.N < last {
					to := at(uint64(min(pos.N+step, last)))
					var ids []broker.ID
					for i := pos.N + 1; i <= to.N; i++ {
						ids = append(ids, id(uint64(i)))
					}
					now, ok, err := nodes[g%2].Claim(t.Context(), workers, 0, pos, to, ids)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if ok && g%4 == 3 { // it dies with them
						lost = append(lost, ids...)
					} else if ok {
						for _, id := range ids {
							claimed[id]++
						}
					}
					mu.Unlock()
					pos = now
				}
			})
		}
		wg.Wait()
		b.lapse(lost...)
		for g := range 8 {
			wg.Go(func() {
				for {
					ids, err := nodes[g%2].Reclaim(t.Context(), workers, 0, 5)
					if err != nil {
						t.Error(err)
					}
					if len(ids) == 0 {
						return
					}
					mu.Lock()
					for _, id := range ids {
						claimed[id]++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for i := uint64(1); i <= last; i++ {
			if n := claimed[id(i)]; n != 1 {
				t.Errorf("%v was claimed %d times", id(i), n)
			}
		}
		if len(claimed) != last {
			t.Errorf("%d claimed", len(claimed))
		}
		if n := b.client.ZCard(t.Context(), shareClaims).Val(); n != last {
			t.Errorf("%d claims", n)
		}
	})
}

func TestManyClaims(t *testing.T) {
	b := newBench(t, redistest.Start(t))
	n, ctx := b.share(), t.Context()
	b.join(n, "a", time.Minute, at(0))
	var ids []broker.ID
	for i := range uint64(2500) {
		ids = append(ids, id(i+1))
	}
	b.claim(n, 0, 2500, ids...)
	b.check(n.Release(ctx, workers, 0, ids))
	got, err := n.Reclaim(ctx, workers, 0, 3000)
	if err != nil || len(got) != len(ids) {
		t.Errorf("%d, %v", len(got), err)
	}
	b.check(n.Renew(ctx, workers, 0, ids))
	b.check(n.Settle(ctx, workers, 0, ids))
	if d := fmt.Sprint(b.client.Exists(ctx, shareClaims).Val()); d != "0" {
		t.Error("claims are left")
	}
}
