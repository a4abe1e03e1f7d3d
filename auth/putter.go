package auth

import (
	"context"

	"golang.org/x/sync/errgroup"
)

const (
	putBatchSize = 64 // devices that one script writes: few enough that Redis keeps nobody waiting for long
	putsAtOnce   = 2  // so that Redis is not idle while the next are prepared
)

// putBatch is plans that one script carries out.
type putBatch struct {
	plans  []*plan
	writes []write
}

// putter writes plans, batch by batch, while others are still being made.
type putter struct {
	r       *Registry
	changes []DeviceChange
	open    map[int]*putBatch // by partition
	sent    errgroup.Group
}

func (r *Registry) newPutter(changes []DeviceChange) *putter {
	p := &putter{r: r, changes: changes, open: map[int]*putBatch{}}
	p.sent.SetLimit(putsAtOnce)
	return p
}

func (p *putter) add(ctx context.Context, one *plan) {
	w, err := p.r.writeOf(one.old, &one.next)
	if err != nil {
		p.changes[one.i].Err = err
		return
	}
	b := p.open[w.partition]
	if b == nil {
		b = &putBatch{}
		p.open[w.partition] = b
	}
	b.plans, b.writes = append(b.plans, one), append(b.writes, w)
	if len(b.plans) == putBatchSize {
		delete(p.open, w.partition)
		p.send(ctx, b)
	}
}

func (p *putter) send(ctx context.Context, b *putBatch) {
	p.sent.Go(func() error {
		p.r.carryOut(ctx, b, p.changes)
		return nil
	})
}

// wait sends what is left, and returns when all is done.
func (p *putter) wait(ctx context.Context) {
	for _, b := range p.open {
		p.send(ctx, b)
	}
	_ = p.sent.Wait() // each change has its own error
}

// carryOut writes a batch, and notes what became of each plan.
func (r *Registry) carryOut(ctx context.Context, b *putBatch, changes []DeviceChange) {
	done, err := r.write(ctx, b.writes)
	for i, p := range b.plans {
		if changes[p.i].Err = err; err == nil && !done[i] {
			changes[p.i].Err = ErrConflict
		}
		r.cache.invalidate(p.old.device.ID)
	}
}
