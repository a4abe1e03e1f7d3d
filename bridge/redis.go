package bridge

import (
	"context"
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
	known, err := client.Get(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("read the number of partitions: %w", err)
	}
	if known != strconv.Itoa(ks.Count()) {
		return fmt.Errorf("partitions: %d here, but this Redis was set up with %s, which cannot change", ks.Count(), known)
	}
	return nil
}
