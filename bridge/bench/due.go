//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"m2mbridge/auth"
	"m2mbridge/bridge/due"
	"m2mbridge/bridge/store"
)

const (
	// dueClaim entries at a time, dueAtOnce times in a round trip, as a worker does that has a backlog.
	dueClaim, dueAtOnce = 100, 8
	// asynqDue is how many tasks are due for asynq in each round: it takes them one at a time, and does not care how many wait.
	asynqDue = 30_000
	dueChunk = 500 // entries added in one script
)

// dueStage is a set with its Redis.
type dueStage struct {
	redis *redisServer
	store *store.Store
	set   *due.Set
}

func (b *bench) openDue(ctx context.Context) (*dueStage, error) {
	r, err := b.startRedis(ctx, aofOff)
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, store.Config{URL: r.url})
	if err != nil {
		r.stop()
		return nil, err
	}
	set := due.NewSet(due.Config{Client: st.Client, Keys: auth.Keyspace{}, Kind: due.SMS, Lease: time.Hour})
	return &dueStage{r, st, set}, nil
}

func (s *dueStage) close() {
	_ = s.store.Close()
	s.redis.stop()
}

// dueEntry is as one of an SMS: an id of 23 letters, and as data the device and when it is due, Unix µs. Ids come in no order.
func dueEntry(name string, i int, at time.Time) due.Entry {
	return due.Entry{
		ID: fmt.Sprintf("%s%016x%06d", name, uint64(i)*0x9e3779b97f4a7c15, i%1_000_000), At: due.At(at),
		Data: fmt.Sprintf("IMEI:%015d %d", i, at.UnixMicro()),
	}
}

// fill adds n entries, whose times at gives.
func (s *dueStage) fill(ctx context.Context, name string, n int, at func(i int) time.Time) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for first := 0; first < n; first += dueChunk {
		group.Go(func() error {
			var list []due.Entry
			for i := first; i < min(first+dueChunk, n); i++ {
				list = append(list, dueEntry(name, i, at(i)))
			}
			return s.add(ctx, list)
		})
	}
	return group.Wait()
}

// add adds entries, again if there was no answer in time: the machine may be busy.
func (s *dueStage) add(ctx context.Context, list []due.Entry) (err error) {
	for range 5 {
		if _, err = s.set.Add(ctx, 0, list...); !errors.Is(err, due.ErrUnavailable) {
			return err
		}
	}
	return err
}

// dueClaims measures one claimer with very many entries due, and what settling them costs; the reference is asynq, whose task is
// due, claimed and done in several steps that cannot be told apart.
func (b *bench) dueClaims(ctx context.Context) error {
	s, err := b.openDue(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	since := time.Now().Add(-time.Hour)
	if err := s.fill(ctx, "d", b.o.registered, func(i int) time.Time { return since.Add(time.Duration(i) * time.Millisecond) }); err != nil {
		return err
	}
	if err := b.noteMemory(s, b.o.registered); err != nil {
		return err
	}
	a, err := b.openAsynq(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	var settled []sample
	p, err := b.inTurn(ctx, func(ctx context.Context) (sample, error) {
		claimed, back, err := b.claimRound(ctx, s)
		settled = append(settled, back)
		return claimed, err
	}, func(ctx context.Context) (sample, error) { return a.drain(ctx, b.tasks(asynqDue)) })
	if err != nil {
		return err
	}
	b.add(
		p.own(fmt.Sprintf("due entries claimed, one claimer, %d due; asynq: due to done", b.o.registered), perSecond, rateOf, atLeast(130_000)),
		p.own("  Redis CPU each", duration, costOf, atMost(7000)),
		row{job: "  settled to another time", unit: perSecond, ours: median(values(settled, rateOf))},
		row{job: "  Redis CPU each", unit: duration, ours: median(values(settled, costOf))},
	)
	return nil
}

// tasks is how many there are in a short run.
func (b *bench) tasks(n int) int {
	if b.o.quick {
		return n / 10
	}
	return n
}

// own is a row whose goal bounds our own number.
func (p pairs) own(name string, u unit, value func(sample) float64, g goal) row {
	return row{job: name, unit: u, ours: median(values(p.ours, value)), reference: median(values(p.reference, value)), goal: g}
}

func (b *bench) noteMemory(s *dueStage, n int) error {
	bytes, err := resident(s.redis.pid)
	if err != nil {
		return err
	}
	b.note("%d entries with their data: %s of Redis, %.0f bytes each", n, bytesOf(float64(bytes)), float64(bytes)/float64(n))
	return nil
}

// claimRound claims for a while, a tenth of what is due at most, then gives all back to when it was due.
func (b *bench) claimRound(ctx context.Context, s *dueStage) (claimed, settled sample, err error) {
	asks := make([]due.Ask, dueAtOnce)
	for i := range asks {
		asks[i] = due.Ask{N: dueClaim}
	}
	var held []due.Claim
	claimed, err = s.measure(func() (int, error) {
		for began := time.Now(); time.Since(began) < b.o.measure && len(held) < b.o.registered/10; {
			for _, batch := range s.set.Claim(ctx, asks...) {
				if batch.Err != nil {
					return 0, batch.Err
				}
				held = append(held, batch.Claims...)
			}
		}
		return len(held), nil
	})
	if err != nil {
		return claimed, settled, err
	}
	settled, err = s.measure(func() (int, error) { return len(held), s.giveBack(ctx, held) })
	return claimed, settled, err
}

func (s *dueStage) giveBack(ctx context.Context, held []due.Claim) error {
	for first := 0; first < len(held); first += dueChunk {
		var list []due.Settlement
		for _, c := range held[first:min(first+dueChunk, len(held))] {
			at, err := dueTime(c)
			if err != nil {
				return err
			}
			list = append(list, due.Settlement{Claim: c, Outcome: due.Again(due.At(at))})
		}
		if err := errors.Join(s.set.Settle(ctx, list...)...); err != nil {
			return err
		}
	}
	return nil
}

// dueTime is when a claim's entry was due, to the microsecond.
func dueTime(c due.Claim) (time.Time, error) {
	_, text, _ := strings.Cut(c.Data, " ")
	us, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("data %q: %w", c.Data, err)
	}
	return time.UnixMicro(us), nil
}

// measure counts what f does, and Redis' CPU for it.
func (s *dueStage) measure(f func() (int, error)) (m sample, err error) {
	return measured(s.redis.pid, f)
}

func measured(pid int, f func() (int, error)) (m sample, err error) {
	before, err := cpuTime(pid)
	if err != nil {
		return m, err
	}
	began := time.Now()
	n, err := f()
	if err != nil {
		return m, err
	}
	m.elapsed, m.messages = time.Since(began), float64(n)
	after, err := cpuTime(pid)
	m.server = after - before
	return m, err
}
