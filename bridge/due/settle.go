package due

import (
	"context"
	"fmt"
)

// Outcome is how a claim ends. The zero Outcome is Done.
type Outcome struct {
	again bool
	left  bool
	at    When
	value string // "=" and data; "": as it was
}

// Done removes the entry.
func Done() Outcome { return Outcome{} }

// Again has the entry acted on at another time. In(0) gives it back.
func Again(at When) Outcome { return Outcome{again: true, at: at} }

// Left settles nothing: a script of the handler's own has, or the lease is to
// run out.
func Left() Outcome { return Outcome{left: true} }

// With changes the entry's data, in the step that settles it.
func (o Outcome) With(data string) Outcome {
	o.value = "=" + data
	return o
}

// Settlement is a claim and how it ends.
type Settlement struct {
	Claim   Claim
	Outcome Outcome
}

// Settle ends claims with one round trip, and gives an error for each, or nil:
// ErrNotHeld, which is final, or ErrUnavailable, after which one may settle
// again as long as nobody else has claimed the entry. Should the first time have
// gone through, ErrNotHeld is what the second one gets.
func (s *Set) Settle(ctx context.Context, list ...Settlement) []error {
	var calls []call
	var places [][]int // of the settlements in each call
	calling := make(map[int]int)
	for i, one := range list {
		if one.Outcome.left {
			continue
		}
		p := one.Claim.Partition
		c, ok := calling[p]
		if !ok || len(places[c]) == MaxClaim {
			c, calling[p] = len(calls), len(calls)
			calls, places = append(calls, call{s.keys.of(p), []any{s.now()}}), append(places, nil)
		}
		calls[c].args, places[c] = append(calls[c].args, one.args()...), append(places[c], i)
	}
	errs := make([]error, len(list))
	for c, reply := range runAll(ctx, s.cfg.Client, s.scripts.settle, calls) {
		done, err := flags("settle due entries", len(places[c]))(reply.Int64Slice())
		for j, i := range places[c] {
			if errs[i] = err; err == nil && !done[j] {
				errs[i] = fmt.Errorf("settle due entry %s: %w", list[i].Claim.ID, ErrNotHeld)
			}
		}
	}
	return errs
}

func (o Settlement) args() []any {
	at := ""
	if o.Outcome.again {
		at = o.Outcome.at.Text()
	}
	return []any{o.Claim.ID, o.Claim.Lease, at, o.Outcome.value}
}
