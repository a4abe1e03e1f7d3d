package latest

import (
	"context"
	_ "embed"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/script"
)

// In each partition there is
//
//	m2m:{p}:latest:<id>      hash of a device: name → value, see text.go; "" → the newest time of all
//	m2m:{p}:projector        the node that writes them, until its lease ends
//	m2m:{p}:projector:cursor the stream id up to which all is written
const (
	lease      = 6 * time.Second // a node that is gone is followed by another within lease and leaseEvery
	leaseEvery = 2 * time.Second
	redisLimit = 2 * time.Second // for a pipeline

	mergeDevices  = 64   // devices in one script, which holds Redis up meanwhile
	mergeValues   = 1024 // values in one script, about
	forgetDevices = 256
	chunk         = 256 // scripts in one pipeline
)

//go:embed lua/hold.lua
var holdSource string

//go:embed lua/merge.lua
var mergeSource string

//go:embed lua/forget.lua
var forgetSource string

// releaseSource ends a node's lease.
//
// KEYS     1 the lease
// ARGV     1 node
// Returns  1 done, 0 it had none
const releaseSource = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`

// Key is the hash of a device's values.
func Key(ks auth.Keyspace, id auth.DeviceID) string { return latestKey(ks, id) }

func latestKey(ks auth.Keyspace, id auth.DeviceID) string {
	return ks.Key(ks.Partition(id), "latest:"+string(id))
}

// deviceKey is the registry's hash of a device, which is there as long as the device is.
func deviceKey(ks auth.Keyspace, id auth.DeviceID) string {
	return ks.Key(ks.Partition(id), "device:"+string(id))
}

func leaseKey(ks auth.Keyspace, p int) string  { return ks.Key(p, "projector") }
func cursorKey(ks auth.Keyspace, p int) string { return ks.Key(p, "projector:cursor") }

// call is one run of a script.
type call struct {
	keys []string
	args []any
}

// runAll runs a script many times, in pipelines of a bounded size. Each reply has its own error.
func runAll(ctx context.Context, client redis.UniversalClient, s *redis.Script, calls []call) (replies []*redis.Cmd) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	for part := range slices.Chunk(calls, chunk) {
		replies = append(replies, script.Pipelined(ctx, client, len(part), func(i int) (*redis.Script, []string, []any) { return s, part[i].keys, part[i].args })...)
	}
	return replies
}
