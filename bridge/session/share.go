package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/broker"
)

// Share is the shared subscriptions of all nodes.
type Share struct {
	client  redis.UniversalClient
	keys    keys
	scripts shareScripts
	newOp   func() string
}

var _ broker.Share = (*Share)(nil)

// NewShare makes a Share. It asks nothing of Redis.
func NewShare(client redis.UniversalClient, ks auth.Keyspace) *Share {
	return &Share{client: client, keys: keys{ks}, scripts: newShareScripts(), newOp: newOp}
}

// Join is part of broker.Share.
func (s *Share) Join(ctx context.Context, k broker.ShareKey, streams []broker.Stream, members []broker.Member, start func(broker.Stream) broker.Position) ([]broker.Position, error) {
	fields := make([]any, 0, 2*len(members))
	for _, m := range members {
		fields = append(fields, memberField(m.Key), m.Keep.Milliseconds())
	}
	all := make([]broker.Position, 0, len(streams))
	for chunk := range slices.Chunk(streams, streamChunk) {
		calls := make([]call, len(chunk))
		for i, st := range chunk {
			to, from := s.keys.share(st, k), start(st)
			calls[i] = call{to.all(), append([]any{to.name, from.ID.String(), formatNumber(from.N)}, fields...)}
		}
		for i, reply := range insist(ctx, s.client, s.scripts.join, calls) {
			at, err := readPosition(reply)
			if err != nil {
				return nil, s.keys.share(chunk[i], k).wrap("join", err)
			}
			all = append(all, at)
		}
	}
	return all, nil
}

// Leave is part of broker.Share.
func (s *Share) Leave(ctx context.Context, k broker.ShareKey, streams []broker.Stream, member broker.SessionKey) error {
	return leave(ctx, s.client, s.scripts.leave, s.keys.leaveCalls(k, streams, member))
}

func (k keys) leaveCalls(key broker.ShareKey, streams []broker.Stream, member broker.SessionKey) []call {
	calls := make([]call, len(streams))
	for i, st := range streams {
		from := k.share(st, key)
		calls[i] = call{from.all(), []any{from.name, memberField(member)}}
	}
	return calls
}

// leave ends memberships. It goes on behind one that fails.
func leave(ctx context.Context, client redis.UniversalClient, s *redis.Script, calls []call) (err error) {
	for chunk := range slices.Chunk(calls, streamChunk) {
		for i, reply := range insist(ctx, client, s, chunk) {
			if reply.Err() != nil && err == nil {
				err = fmt.Errorf("leave shared subscription %.200q: %w", chunk[i].args[0], unavailable(reply.Err()))
			}
		}
	}
	return err
}

// Claim is part of broker.Share. ErrEnded when no member is left: one that is
// still there joins again.
func (s *Share) Claim(ctx context.Context, k broker.ShareKey, st broker.Stream, from, to broker.Position, ids []broker.ID) (broker.Position, bool, error) {
	on := s.keys.share(st, k)
	args := append([]any{s.newOp(), from.ID.String(), to.ID.String(), formatNumber(to.N), lease.Milliseconds()}, formatIDs(ids)...)
	reply, err := run(ctx, s.client, s.scripts.claim, []string{on.hash, on.claims}, args...).Slice()
	if err != nil {
		return broker.Position{}, false, on.wrap("claim of", err)
	}
	if len(reply) == 0 {
		return broker.Position{}, false, on.wrap("claim of", ErrEnded)
	}
	if len(reply) != 3 {
		return broker.Position{}, false, on.wrap("claim of", errForm)
	}
	at, err := parsePosition(reply[1:])
	return at, reply[0] == int64(1), on.wrap("claim of", err)
}

// Settle is part of broker.Share.
func (s *Share) Settle(ctx context.Context, k broker.ShareKey, st broker.Stream, ids []broker.ID) error {
	to := s.keys.share(st, k)
	for chunk := range slices.Chunk(ids, claimChunk) {
		ctx, cancel := context.WithTimeout(ctx, redisLimit)
		err := s.client.ZRem(ctx, to.claims, formatIDs(chunk)...).Err()
		cancel()
		if err != nil {
			return to.wrap("settle claims of", unavailable(err))
		}
	}
	return nil
}

// Renew is part of broker.Share. Where the subscription has ended nothing is done.
func (s *Share) Renew(ctx context.Context, k broker.ShareKey, st broker.Stream, ids []broker.ID) error {
	return s.renew(ctx, k, st, ids, lease)
}

// Release is part of broker.Share. As Renew it makes claims again that were forgotten.
func (s *Share) Release(ctx context.Context, k broker.ShareKey, st broker.Stream, ids []broker.ID) error {
	return s.renew(ctx, k, st, ids, 0)
}

func (s *Share) renew(ctx context.Context, k broker.ShareKey, st broker.Stream, ids []broker.ID, keep time.Duration) error {
	to := s.keys.share(st, k)
	for chunk := range slices.Chunk(ids, claimChunk) {
		args := append([]any{keep.Milliseconds()}, formatIDs(chunk)...)
		if err := run(ctx, s.client, s.scripts.renew, []string{to.hash, to.claims}, args...).Err(); err != nil {
			return to.wrap("renew claims of", err)
		}
	}
	return nil
}

// Reclaim is part of broker.Share: the oldest first.
func (s *Share) Reclaim(ctx context.Context, k broker.ShareKey, st broker.Stream, limit int) ([]broker.ID, error) {
	to := s.keys.share(st, k)
	texts, err := run(ctx, s.client, s.scripts.reclaim, []string{to.claims}, limit, lease.Milliseconds()).StringSlice()
	if err != nil {
		return nil, to.wrap("reclaim of", err)
	}
	ids := make([]broker.ID, len(texts))
	for i, text := range texts {
		if ids[i], err = parseID(text); err != nil {
			return nil, to.wrap("reclaim of", err)
		}
	}
	return ids, nil
}

// memberField names a member. It is sent with each beat for each stream, and a
// client id may be long: such a name is hashed. No app's name begins with "#".
func memberField(k broker.SessionKey) string {
	name := nameOf(k)
	if len(name) > maxMemberName {
		sum := sha256.Sum256([]byte(name))
		name = "#" + hex.EncodeToString(sum[:16])
	}
	return "m:" + name
}

func formatIDs(ids []broker.ID) []any {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id.String()
	}
	return args
}

func readPosition(reply *redis.Cmd) (broker.Position, error) {
	fields, err := reply.Slice()
	if err != nil {
		return broker.Position{}, unavailable(err)
	}
	return parsePosition(fields)
}

// parsePosition reads an id and a number as a script gives them.
func parsePosition(fields []any) (at broker.Position, err error) {
	if len(fields) != 2 {
		return at, errForm
	}
	id, _ := fields[0].(string)
	n, _ := fields[1].(string)
	if at.ID, err = parseID(id); err != nil {
		return at, err
	}
	at.N, err = parseNumber(n)
	return at, err
}

// formatNumber writes the number of an entry; "?" where it is not known.
func formatNumber(n int64) string {
	if n == broker.Unknown {
		return "?"
	}
	return strconv.FormatInt(n, 10)
}

func parseNumber(s string) (int64, error) {
	if s == "?" {
		return broker.Unknown, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, errForm
	}
	return n, nil
}
