package due

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Claim is an entry that is due and ours until Until.
type Claim struct {
	Partition int
	ID        string
	Data      string
	Lease     string    // proof that it is ours, for scripts
	Until     time.Time // by this node's clock, at the earliest
}

// Ask is for up to N entries of a partition.
type Ask struct{ Partition, N int }

// Batch is what one Ask has brought.
type Batch struct {
	Claims []Claim       // in order of due time
	Late   time.Duration // how long the first has been due, or its former claim run out
	Next   time.Duration // until the next is due, not above 0 if it is; meaningless if Empty
	Empty  bool          // nothing waits in the partition
	Bare   int           // entries without data: not in Claims; see Check
	Err    error         // ErrUnavailable: what was claimed, if it was, costs its lease
}

// Claim claims for each Ask, all with one round trip.
func (s *Set) Claim(ctx context.Context, asks ...Ask) []Batch {
	calls, now := make([]call, len(asks)), s.now()
	for i, a := range asks {
		calls[i] = call{s.keys.of(a.Partition), []any{now, ceilMS(s.cfg.Lease), min(max(a.N, 0), MaxClaim)}}
	}
	until := time.Now().Add(s.cfg.Lease)
	batches := make([]Batch, len(asks))
	for i, reply := range runAll(ctx, s.cfg.Client, s.scripts.claim, calls) {
		batches[i] = s.batch(asks[i].Partition, until, reply)
	}
	return batches
}

var errReply = errors.New("unexpected reply of the claim script")

func (s *Set) batch(p int, until time.Time, reply *redis.Cmd) (b Batch) {
	fields, err := reply.Slice()
	if err != nil {
		return Batch{Err: unavailable("claim due entries", err)}
	}
	if len(fields) != 5 {
		return Batch{Err: errReply}
	}
	lease, _ := fields[0].(string)
	ids, _ := fields[1].([]any)
	values, _ := fields[2].([]any)
	late, _ := fields[3].(string)
	wait, _ := fields[4].(string)
	if len(ids) != len(values) {
		return Batch{Err: errReply}
	}
	b.fill(Claim{Partition: p, Lease: lease, Until: until}, ids, values)
	b.Err = b.times(late, wait)
	return b
}

// fill makes a claim of each entry that has data.
func (b *Batch) fill(c Claim, ids, values []any) {
	b.Claims = make([]Claim, 0, len(ids))
	for i := range ids {
		var ok bool
		if c.Data, ok = values[i].(string); !ok {
			b.Bare++
			continue
		}
		c.ID, _ = ids[i].(string)
		b.Claims = append(b.Claims, c)
	}
}

func (b *Batch) times(late, wait string) (err error) {
	if b.Late, err = fromMS(late); err != nil {
		return fmt.Errorf("%w: %w", errReply, err)
	}
	if b.Empty = wait == ""; b.Empty {
		return nil
	}
	if b.Next, err = fromMS(wait); err != nil {
		return fmt.Errorf("%w: %w", errReply, err)
	}
	return nil
}
