package latest

import (
	"context"
	"fmt"
	"time"
)

// flush writes what is pending, and then where that ends. Should the node die
// between the two, what is behind the cursor is read again, which changes
// nothing.
func (p *Projector) flush(ctx context.Context) error {
	var moved []*part
	var calls []call
	var of []*part // of each call
	for _, t := range p.parts {
		if !t.held || t.pos.ID == t.written {
			continue
		}
		moved = append(moved, t)
		for _, c := range t.merges(p.cfg.Keys, p.node) {
			calls, of = append(calls, c), append(of, t)
		}
	}
	for i, reply := range runAll(ctx, p.cfg.Client, p.merge, calls) {
		done, err := reply.Int()
		if err != nil {
			return fmt.Errorf("write latest values of partition %d: %w", of[i].partition, err)
		}
		if done == 0 {
			of[i].lose()
		}
	}
	return p.move(ctx, moved)
}

// move notes how far all is written.
func (p *Projector) move(ctx context.Context, moved []*part) error {
	var kept []*part
	for _, t := range moved {
		if t.held {
			kept = append(kept, t)
		}
	}
	if err := p.holdAll(ctx, kept, true); err != nil {
		return err
	}
	for _, t := range kept {
		if t.held {
			t.empty()
		}
	}
	return nil
}

func (p *Projector) lag(now time.Time) (most time.Duration) {
	for _, t := range p.parts {
		most = max(most, t.lag(now))
	}
	return most
}
