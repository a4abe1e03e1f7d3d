package due

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The agenda gives what a sorted list would.
func TestAgenda(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(r, "partitions")
		a, at := newAgenda(n), make([]int, n)
		partition, second := rapid.IntRange(0, n-1), rapid.IntRange(0, 20)
		r.Repeat(map[string]func(*rapid.T){
			"set": func(r *rapid.T) {
				p, s := partition.Draw(r, "p"), second.Draw(r, "s")
				a.set(p, time.Unix(int64(s), 0))
				at[p] = s
			},
			"advance": func(r *rapid.T) {
				p, s := partition.Draw(r, "p"), second.Draw(r, "s")
				if at[p] == 0 { // newAgenda's: before all
					return
				}
				a.advance(p, time.Unix(int64(s), 0))
				at[p] = min(at[p], s)
			},
			"due": func(r *rapid.T) {
				now, most := second.Draw(r, "now"), rapid.IntRange(0, n).Draw(r, "n")
				var want, got []int
				for _, s := range at {
					if s <= now {
						want = append(want, s)
					}
				}
				slices.Sort(want)
				want = want[:min(most, len(want))]
				for _, p := range a.due(time.Unix(int64(now), 0), most) {
					got = append(got, at[p])
				}
				if d := cmp.Diff(want, got); d != "" && len(want)+len(got) > 0 {
					r.Fatalf("due at (-want +got):\n%s", d)
				}
			},
			"": func(r *rapid.T) {
				if first := a.next(); !first.IsZero() && first.Unix() != int64(slices.Min(at)) {
					r.Fatalf("next %v of %v", first, at)
				}
			},
		})
	})
}

// A partition with a backlog leaves room for the others.
func TestShares(t *testing.T) {
	w := NewWorker(WorkerConfig{Set: NewSet(Config{Keys: partitions(3)}), Batch: 10})
	now := time.Unix(1000, 0)
	w.agenda.set(0, now.Add(-time.Second))
	w.agenda.set(1, now.Add(-2*time.Second))
	w.agenda.set(2, now.Add(time.Second))
	w.depth[1] = 8
	for _, c := range []struct {
		room int
		want []Ask
	}{
		{1, []Ask{{1, 1}}},
		{8, []Ask{{1, 4}, {0, 4}}},
		{50, []Ask{{1, 10}, {1, 10}, {1, 5}, {0, 10}}},
	} {
		if d := cmp.Diff(c.want, w.asks(now, c.room)); d != "" {
			t.Errorf("room %d (-want +got):\n%s", c.room, d)
		}
	}
}
