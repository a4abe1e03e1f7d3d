package session

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/open.lua
var openSource string

//go:embed lua/save.lua
var saveSource string

//go:embed lua/join.lua
var joinSource string

//go:embed lua/claim.lua
var claimSource string

//go:embed lua/leave.lua
var leaveSource string

// removeSource forgets a session, whoever has it.
//
// KEYS     1 its record · 2 the index by expiry · 3 the index by name
// ARGV     1 its name · 2 when its app was created, ms, ” for whenever
// Returns  {app created, subs} of what it was · {} there is none, or it is another app's
const removeSource = `
local was = redis.call('HMGET', KEYS[1], 'owner', 'appcreated', 'subs')
if ARGV[2] ~= '' and was[2] ~= ARGV[2] then return {} end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[1])
if not was[1] then return {} end
return {was[2] or '', was[3] or ''}`

// sweepSource forgets a session that has expired, whatever node it was on.
//
// KEYS     1 its record · 2 the index by expiry · 3 the index by name
// ARGV     1 its name
// Returns  {app created, subs} of what it was · {} it has not, or is gone
const sweepSource = `
local time = redis.call('TIME')
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not score or tonumber(score) > time[1] * 1000 + math.floor(time[2] / 1000) then return {} end
local was = redis.call('HMGET', KEYS[1], 'appcreated', 'subs')
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[1])
return {was[1] or '', was[2] or ''}`

// renewSource prolongs claims, or lets them go. It makes those again that were
// forgotten, in an outage that no member has outlived: as long as there are
// members, what a node has not settled must come to one.
//
// KEYS     1 its hash · 2 its claims
// ARGV     1 lease in ms, 0: let go · 2… ids
// Returns  1 done, 0 there is no such shared subscription
const renewSource = `
local expiry = redis.call('HGET', KEYS[1], 'until')
if not expiry then return 0 end
local score = '0'
if ARGV[1] ~= '0' then
    local time = redis.call('TIME')
    score = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
end
for i = 2, #ARGV do redis.call('ZADD', KEYS[2], score, ARGV[i]) end
redis.call('PEXPIREAT', KEYS[2], expiry)
return 1`

// reclaimSource claims what was let go or not renewed, of the first thousand
// of it the oldest messages.
//
// KEYS     1 claims
// ARGV     1 ids at most · 2 lease in ms
// Returns  ids, oldest first
const reclaimSource = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local free = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, math.max(1000, ARGV[1]))) do
    local dash = string.find(id, '-', 1, true)
    free[#free + 1] = {id, tonumber(string.sub(id, 1, dash - 1)), tonumber(string.sub(id, dash + 1))}
end
table.sort(free, function(a, b) return a[2] < b[2] or a[2] == b[2] and a[3] < b[3] end)
local taken, score = {}, string.format('%.0f', now + ARGV[2])
for i = 1, math.min(#free, ARGV[1]) do
    redis.call('ZADD', KEYS[1], score, free[i][1])
    taken[i] = free[i][1]
end
return taken`

// pruneSource forgets a shared subscription that has expired.
//
// KEYS     1 its hash · 2 its claims · 3 the index of shared subscriptions
// ARGV     1 its name in the index · 2 '1': even if it lives
// Returns  1 done, 0 it lives
const pruneSource = `
if ARGV[2] ~= '1' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('SREM', KEYS[3], ARGV[1])
return 1`

// warnSource changes what was warned of, so that one node alone tells of it.
//
// KEYS     1 a session's record, or a shared subscription's hash
// ARGV     1 what it must be · 2 what it is to be
// Returns  1 done, 0 it is something else, or gone
const warnSource = `
if redis.call('EXISTS', KEYS[1]) == 0 or (redis.call('HGET', KEYS[1], 'warned') or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], 'warned') else redis.call('HSET', KEYS[1], 'warned', ARGV[2]) end
return 1`

// nextSource finds the entries behind positions; of the entries, which may be
// large, the ids alone go over the wire.
//
// KEYS     1 a stream
// ARGV     ids
// Returns  for each the id of the first entry behind it, ” for none
const nextSource = `
local ids = {}
for i, id in ipairs(ARGV) do
    local entry = redis.call('XRANGE', KEYS[1], '(' .. id, '+', 'COUNT', 1)[1]
    ids[i] = entry and entry[1] or ''
end
return ids`

type scripts struct{ open, save, remove, sweep, leave *redis.Script }

func newScripts() scripts {
	return scripts{
		open: redis.NewScript(openSource), save: redis.NewScript(saveSource),
		remove: redis.NewScript(removeSource), sweep: redis.NewScript(sweepSource), leave: redis.NewScript(leaveSource),
	}
}

type shareScripts struct{ join, leave, claim, renew, reclaim *redis.Script }

func newShareScripts() shareScripts {
	return shareScripts{
		join: redis.NewScript(joinSource), leave: redis.NewScript(leaveSource), claim: redis.NewScript(claimSource),
		renew: redis.NewScript(renewSource), reclaim: redis.NewScript(reclaimSource),
	}
}
