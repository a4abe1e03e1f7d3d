package presence

import (
	"context"
	_ "embed"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/script"
	"m2mbridge/bridge/stream"
)

// All of a device is in its partition:
//
//	m2m:{p}:presence:<device id>  hash: state via since cause run session epoch; last gap deviation gaps allowed
//	m2m:{p}:presence:seen         sorted set of the devices that there is something of, all with score 0
//	m2m:{p}:presence:silent       sorted set of devices heard over HTTP; score: Unix ms when they are taken for offline
//	m2m:{p}:presence:runs         sorted set of the runs of nodes; score: Unix ms when their lease ends
//	m2m:{p}:presence:run:<run>    set of the devices that are online there over MQTT
//	m2m:{p}:events                stream, shared with others
//
// A run is one life of a node's process, <node>/<random>; session numbers those
// of a run, and an epoch goes up with each session of a device anywhere. last,
// gap, deviation and allowed are ms: of the last uplink over HTTP, and what was
// learned of those before.
const (
	lease     = 12 * time.Second // a run counts for dead that does not renew it
	beatEvery = 3 * time.Second

	redisLimit = 2 * time.Second // for a pipeline
	batchSize  = 64              // calls in one: an in-memory store takes milliseconds for each
)

// keys names what is in Redis.
type keys struct{ auth.Keyspace }

func (k keys) presence(id auth.DeviceID) string {
	return k.Key(k.Partition(id), "presence:"+string(id))
}

// registration is the registry's own record, of which only is asked whether it is there.
func (k keys) registration(id auth.DeviceID) string {
	return k.Key(k.Partition(id), "device:"+string(id))
}

func (k keys) seen(p int) string              { return k.Key(p, "presence:seen") }
func (k keys) silent(p int) string            { return k.Key(p, "presence:silent") }
func (k keys) runs(p int) string              { return k.Key(p, "presence:runs") }
func (k keys) devices(p int, r string) string { return k.Key(p, "presence:run:"+r) }
func (k keys) events(p int) string            { return stream.Key(k.Keyspace, stream.Events, p) }

// of are a device's keys in the order that all scripts take them.
func (k keys) of(id auth.DeviceID, more ...string) []string {
	p := k.Partition(id)
	return append([]string{k.presence(id), k.registration(id), k.seen(p), k.silent(p), k.events(p)}, more...)
}

// nodeOf is the node of a run.
func nodeOf(run string) string {
	if i := strings.LastIndexByte(run, '/'); i >= 0 {
		return run[:i]
	}
	return run
}

//go:embed lua/prelude.lua
var preludeSource string

//go:embed lua/online.lua
var onlineSource string

//go:embed lua/offline.lua
var offlineSource string

//go:embed lua/uplink.lua
var uplinkSource string

//go:embed lua/silent.lua
var silentSource string

//go:embed lua/gone.lua
var goneSource string

// forgetSource forgets a device that is not registered any more.
//
// KEYS     1 its presence · 2 its registration · 3 devices seen · 4 deadlines of silence · 5 events
// ARGV     1 device · 2 length of events · 3 now, ms
// Returns  1 done · 0 it is registered
const forgetSource = `return removed(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[2], ARGV[1], ARGV[3]) and 1 or 0`

// renewSource renews a run's lease.
//
// KEYS     1 runs · 2 devices of the run
// ARGV     1 run · 2 lease, ms
// Returns  how many devices it has
const renewSource = `
call('ZADD', KEYS[1], string.format('%.0f', ms() + ARGV[2]), ARGV[1])
return call('SCARD', KEYS[2])`

// burySource forgets a run that has no devices and, unless it ends by itself, no lease.
//
// KEYS     1 runs · 2 devices of the run
// ARGV     1 run · 2 '1': it ends by itself
// Returns  1 done · 0 it has devices, or lives
const burySource = `
local lease = call('ZSCORE', KEYS[1], ARGV[1])
if call('EXISTS', KEYS[2]) == 1 or ARGV[2] ~= '1' and lease and tonumber(lease) > ms() then return 0 end
call('ZREM', KEYS[1], ARGV[1])
return 1`

type scripts struct{ online, offline, uplink, silent, gone, forget, renew, bury *redis.Script }

func newScripts() scripts {
	script := func(source string) *redis.Script { return redis.NewScript(preludeSource + source) }
	return scripts{
		online: script(onlineSource), offline: script(offlineSource), uplink: script(uplinkSource), silent: script(silentSource),
		gone: script(goneSource), forget: script(forgetSource), renew: script(renewSource), bury: script(burySource),
	}
}

// call is one call of a script among others.
type call struct {
	script *redis.Script
	keys   []string
	args   []any
}

// runAll sends calls with one pipeline. Each reply has its own error.
func (p *Presence) runAll(ctx context.Context, calls []call) []*redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	return script.Pipelined(ctx, p.cfg.Client, len(calls), func(i int) (*redis.Script, []string, []any) {
		return calls[i].script, calls[i].keys, calls[i].args
	})
}

// runChunked is runAll in pipelines of a bounded size, up to the first failure.
func (p *Presence) runChunked(ctx context.Context, calls []call) ([]int64, error) {
	values := make([]int64, 0, len(calls))
	for len(calls) > 0 {
		n := min(len(calls), batchSize)
		for _, reply := range p.runAll(ctx, calls[:n]) {
			v, err := reply.Int64()
			if err != nil {
				return values, err
			}
			values = append(values, v)
		}
		calls = calls[n:]
	}
	return values, nil
}
