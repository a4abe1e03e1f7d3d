package due

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Problem is what is wrong with an entry. None comes from our scripts: only
// outside hands make one.
type Problem string

// The problems there are.
const (
	NoData   Problem = "no data"   // a member of the set that has no data: nothing can be done with it; mended by removing it
	NoMember Problem = "no member" // data that is not in the set: it would never be acted on; mended by making it due now
	TooFar   Problem = "too far"   // due beyond the horizon; mended by making it due now
)

// Fault is an entry that is not as it should be.
type Fault struct {
	Kind      Kind
	Partition int
	ID        string
	Problem   Problem
}

func (f Fault) String() string {
	return fmt.Sprintf("due %s, partition %d, entry %.100q: %s", f.Kind, f.Partition, f.ID, f.Problem)
}

// Check finds faults, at most limit of them (0: all). Leases of nodes that are
// gone are none: they run out. Entries that come and go meanwhile make none.
func (s *Set) Check(ctx context.Context, limit int) ([]Fault, error) {
	return s.examine(ctx, s.scripts.check, limit)
}

// Mend mends faults and tells what they were.
func (s *Set) Mend(ctx context.Context) ([]Fault, error) { return s.examine(ctx, s.scripts.mend, 0) }

// examine gives all ids of all partitions to a script, which looks at each again
// in one step. What Redis gives twice, and what is in both, is told once.
func (s *Set) examine(ctx context.Context, script *redis.Script, limit int) (faults []Fault, err error) {
	known := make(map[Fault]bool)
	for p := range s.Partitions() {
		for ids, err := range s.scan(ctx, p) {
			if err != nil {
				return faults, unavailable("read due entries", err)
			}
			found, err := s.look(ctx, script, p, ids)
			if err != nil {
				return faults, err
			}
			for _, f := range found {
				if !known[f] {
					known[f], faults = true, append(faults, f)
				}
			}
			if limit > 0 && len(faults) >= limit {
				return faults[:limit], nil
			}
		}
	}
	return faults, nil
}

func (s *Set) look(ctx context.Context, script *redis.Script, p int, ids []string) (faults []Fault, err error) {
	args := []any{s.now(), s.cfg.Horizon.Milliseconds()}
	for _, id := range ids {
		args = append(args, id)
	}
	problems, err := s.run(ctx, script, p, args...).StringSlice()
	if err != nil {
		return nil, unavailable("check due entries", err)
	}
	for i, problem := range problems {
		if problem != "" {
			faults = append(faults, Fault{s.cfg.Kind, p, ids[i], Problem(problem)})
		}
	}
	return faults, nil
}

const scanChunk = 500

// scan gives the ids of the set, then those that have data, some at a time.
func (s *Set) scan(ctx context.Context, p int) iter.Seq2[[]string, error] {
	set := func(cursor uint64) *redis.ScanCmd {
		return s.cfg.Client.ZScan(ctx, s.keys.set(p), cursor, "", scanChunk)
	}
	data := func(cursor uint64) *redis.ScanCmd {
		return s.cfg.Client.HScan(ctx, s.keys.data(p), cursor, "", scanChunk)
	}
	return func(yield func([]string, error) bool) {
		_ = scanAll(set, yield) && scanAll(data, yield)
	}
}

// scanAll reads pairs, of which the first is an id, until there are no more.
func scanAll(read func(cursor uint64) *redis.ScanCmd, yield func([]string, error) bool) bool {
	for cursor := uint64(0); ; {
		pairs, next, err := read(cursor).Result()
		ids := make([]string, 0, len(pairs)/2)
		for pair := range slices.Chunk(pairs, 2) {
			ids = append(ids, pair[0])
		}
		// A small set comes whole, whatever was asked for.
		for chunk := range slices.Chunk(ids, scanChunk) {
			if !yield(chunk, nil) {
				return false
			}
		}
		if err != nil {
			yield(nil, err)
			return false
		}
		if next == 0 {
			return true
		}
		cursor = next
	}
}
