package bridge

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// partitionsKey holds the number of partitions that all nodes of this Redis use.
func partitionsKey(ks auth.Keyspace) string { return ks.Key(0, "partitions") }

// probeKeys are written to find out whether Redis can store, one a partition.
func probeKeys(ks auth.Keyspace) []string {
	keys := make([]string, ks.Count())
	for p := range keys {
		keys[p] = ks.Key(p, "probe")
	}
	return keys
}

// claimPartitions notes the number of partitions at the first start, and
// refuses another later: devices would look for their keys in the wrong place.
func claimPartitions(ctx context.Context, client redis.UniversalClient, ks auth.Keyspace) error {
	key := partitionsKey(ks)
	if err := client.SetNX(ctx, key, ks.Count(), 0).Err(); err != nil {
		return fmt.Errorf("note the number of partitions: %w", err)
	}
	known, err := ClaimedPartitions(ctx, client)
	if err != nil {
		return err
	}
	if known != ks.Count() {
		return fmt.Errorf("partitions: %d here, but this Redis was set up with %d, which cannot change", ks.Count(), known)
	}
	return nil
}

// ClaimedPartitions is the number of partitions that the first node noted; 0: none
// has used this Redis.
func ClaimedPartitions(ctx context.Context, client redis.UniversalClient) (int, error) {
	text, err := client.Get(ctx, partitionsKey(auth.Keyspace{})).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the number of partitions: %w", err)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPartitions {
		return 0, fmt.Errorf("the number of partitions in Redis is %.32q, which is none", text)
	}
	return n, nil
}
