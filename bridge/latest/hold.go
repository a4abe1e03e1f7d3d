package latest

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"m2mbridge/bridge/stream"
)

// claim renews the leases that this node has, and takes those that nobody has.
func (p *Projector) claim(ctx context.Context) error {
	if err := p.holdAll(ctx, p.parts, false); err != nil {
		return err
	}
	held := 0
	for _, t := range p.parts {
		if t.held {
			held++
		}
	}
	p.setFollow(held > 0)
	p.metrics.partitions.Set(float64(held))
	return nil
}

// setFollow has new uplinks kept in memory while there is a use for it.
func (p *Projector) setFollow(on bool) {
	switch {
	case on && p.follow == nil && p.cfg.Follow != nil:
		p.follow = p.cfg.Follow(stream.Uplinks)
	case !on && p.follow != nil:
		p.follow()
		p.follow = nil
	}
}

// holdAll takes or renews leases; with move it notes how far all is written.
func (p *Projector) holdAll(ctx context.Context, parts []*part, move bool) error {
	calls := make([]call, len(parts))
	for i, t := range parts {
		id := ""
		if move {
			id = t.pos.ID.String()
		}
		calls[i] = call{
			keys: []string{leaseKey(p.cfg.Keys, t.partition), cursorKey(p.cfg.Keys, t.partition)},
			args: []any{p.node, lease.Milliseconds(), id},
		}
	}
	var failed error
	for i, reply := range runAll(ctx, p.cfg.Client, p.hold, calls) {
		if err := parts[i].answer(reply); err != nil {
			failed = fmt.Errorf("hold partition %d: %w", parts[i].partition, err)
		}
	}
	return failed
}

// answer takes over what hold.lua said.
func (t *part) answer(reply *redis.Cmd) error {
	words, err := reply.Slice()
	if err != nil {
		return err
	}
	if len(words) != 2 {
		t.lose()
		return nil
	}
	text, _ := words[1].(string)
	cursor, err := stream.ParseID(text)
	if err != nil {
		return err
	}
	if !t.held || words[0] == int64(0) { // another node may have had it meanwhile
		t.restart(cursor)
	}
	t.written = cursor
	return nil
}

// release ends the leases, so that another node need not wait for that.
func (p *Projector) release(ctx context.Context) error {
	var calls []call
	for _, t := range p.parts {
		if t.held {
			calls = append(calls, call{keys: []string{leaseKey(p.cfg.Keys, t.partition)}, args: []any{p.node}})
		}
	}
	for _, reply := range runAll(ctx, p.cfg.Client, redis.NewScript(releaseSource), calls) {
		if err := reply.Err(); err != nil {
			return fmt.Errorf("release partitions: %w", err)
		}
	}
	return nil
}
