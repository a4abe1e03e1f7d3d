package due

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Entry is what is to be done, and when.
type Entry struct {
	ID   string
	At   When
	Data string // the handler's; it comes with each claim
}

// Add adds entries to a partition, and tells for each whether it is new: one
// whose id is there already stays as it was, so that to add again does no harm.
func (s *Set) Add(ctx context.Context, p int, entries ...Entry) (added []bool, err error) {
	if err := s.valid(p, entries); err != nil || len(entries) == 0 {
		return nil, err
	}
	args := make([]any, 1, 1+3*len(entries))
	args[0] = s.now()
	for _, e := range entries {
		args = append(args, e.ID, e.At.Text(), e.Data)
	}
	return flags("add due entries", len(entries))(s.run(ctx, s.scripts.add, p, args...).Int64Slice())
}

func (s *Set) valid(p int, entries []Entry) error {
	if p < 0 || p >= s.Partitions() {
		return fmt.Errorf("partition %d of %d: %w", p, s.Partitions(), ErrInvalid)
	}
	for _, e := range entries {
		if e.ID == "" {
			return fmt.Errorf("entry without an id: %w", ErrInvalid)
		}
	}
	return nil
}

// Cancel removes entries whoever has claimed them, and tells which there were.
func (s *Set) Cancel(ctx context.Context, p int, ids ...string) (there []bool, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	args := []any{s.now()}
	for _, id := range ids {
		args = append(args, id)
	}
	return flags("cancel due entries", len(ids))(s.run(ctx, s.scripts.cancel, p, args...).Int64Slice())
}

// Move sets another time, whoever has claimed the entry, and tells whether there
// is one.
func (s *Set) Move(ctx context.Context, p int, id string, to When) (bool, error) {
	n, err := s.run(ctx, s.scripts.move, p, s.now(), id, to.Text()).Int64()
	return n == 1, unavailable("move due entry "+id, err)
}

// Get gives the data of an entry and when it is next acted on: of one that is
// claimed, when its lease ends.
func (s *Set) Get(ctx context.Context, p int, id string) (at time.Time, data string, ok bool, err error) {
	reply, err := s.run(ctx, s.scripts.get, p, s.now(), id).StringSlice()
	if err != nil || len(reply) < 2 {
		return time.Time{}, "", false, unavailable("get due entry "+id, err)
	}
	ms, err := strconv.ParseFloat(reply[0], 64)
	if err != nil {
		return time.Time{}, "", false, fmt.Errorf("get due entry %s: %w", id, err)
	}
	return time.UnixMicro(int64(ms * 1000)), reply[1], true, nil
}

// Len is the number of entries, claimed ones included.
func (s *Set) Len(ctx context.Context) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	pipe := s.cfg.Client.Pipeline()
	replies := make([]interface{ Val() int64 }, s.Partitions())
	for p := range replies {
		replies[p] = pipe.ZCard(ctx, s.keys.set(p))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, unavailable("count due entries", err)
	}
	for _, r := range replies {
		n += r.Val()
	}
	return n, nil
}

// flags reads a script's answers of 1 and 0.
func flags(verb string, want int) func([]int64, error) ([]bool, error) {
	return func(numbers []int64, err error) ([]bool, error) {
		if err != nil {
			return nil, unavailable(verb, err)
		}
		if len(numbers) != want {
			return nil, fmt.Errorf("%s: %d answers for %d", verb, len(numbers), want)
		}
		list := make([]bool, want)
		for i, n := range numbers {
			list[i] = n == 1
		}
		return list, nil
	}
}
