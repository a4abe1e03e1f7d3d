package due

import (
	_ "embed"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// ruleSource is the one owner of the rules: the table due of Lua functions.
//
//go:embed lua/due.lua
var ruleSource string

// Script makes a script of body, which may use the functions of lua/due.lua:
// they are prefixed to it. The set and the data of [Keys] must be among its
// KEYS; a time comes as [When.Text]. All other keys are of the same partition.
//
//	local now = due.now('')
//	if due.settle(KEYS[1], KEYS[2], now, ARGV[1], ARGV[2]) then redis.call('HSET', KEYS[3], 'state', 'SUCCEEDED') end
func Script(body string) *redis.Script { return redis.NewScript(ruleSource + body) }

// Rules are the functions alone, for a script that calls them in a place of its own: a local table named due.
func Rules() string { return ruleSource }

// Keys are the set and the data of a kind in a partition.
func Keys(ks auth.Keyspace, kind Kind, p int) (set, data string) {
	k := keys{ks, kind}
	return k.set(p), k.data(p)
}

// In all scripts KEYS are 1 the set · 2 its data, and ARGV 1 the time, '' for Redis' own.

// addSource adds entries.
//
// ARGV     2… for each: id, at, data
// Returns  for each 1 added, 0 there is one of that id
const addSource = `
local now, done = due.now(ARGV[1]), {}
for i = 2, #ARGV, 3 do
    done[#done + 1] = due.add(KEYS[1], KEYS[2], now, ARGV[i], ARGV[i + 1], ARGV[i + 2]) and 1 or 0
end
return done`

// claimSource claims entries. Times are text: Lua's numbers lose their fraction.
//
// ARGV     2 lease in ms · 3 entries at most
// Returns  {lease, ids, data (nil for none), ms for which the first was due, ms until the next is, ” for none}
const claimSource = `
local now = due.now(ARGV[1])
local lease, ids, values, late = due.claim(KEYS[1], KEYS[2], now, tonumber(ARGV[2]), ARGV[3])
local wait = due.wait(KEYS[1], now)
return {lease, ids, values, string.format('%.3f', late), wait and string.format('%.3f', wait) or ''}`

// settleSource ends claims.
//
// ARGV     2… for each: id, lease, at (” when all is done), data with '=' before it (” leaves it)
// Returns  for each 1 settled, 0 not held any more
const settleSource = `
local now, done = due.now(ARGV[1]), {}
for i = 2, #ARGV, 4 do
    local at, value = ARGV[i + 2], ARGV[i + 3]
    if at == '' then at = nil end
    if value == '' then value = nil else value = string.sub(value, 2) end
    done[#done + 1] = due.settle(KEYS[1], KEYS[2], now, ARGV[i], ARGV[i + 1], at, value) and 1 or 0
end
return done`

// cancelSource removes entries.
//
// ARGV     2… ids
// Returns  for each 1 removed, 0 there was none
const cancelSource = `
local done = {}
for i = 2, #ARGV do done[i - 1] = due.cancel(KEYS[1], KEYS[2], ARGV[i]) and 1 or 0 end
return done`

// moveSource sets an entry's time.
//
// ARGV     2 id · 3 at
// Returns  1 done, 0 there is none
const moveSource = `return due.move(KEYS[1], KEYS[2], due.now(ARGV[1]), ARGV[2], ARGV[3]) and 1 or 0`

// getSource reads an entry.
//
// ARGV     2 id
// Returns  {score, data} · {} there is none
const getSource = `return {due.get(KEYS[1], KEYS[2], ARGV[2])}`

// checkSource finds faults; mendSource mends them.
//
// ARGV     2 horizon in ms · 3… ids
// Returns  for each ” or what is (was) wrong
const (
	checkSource = `
local now, faults = due.now(ARGV[1]), {}
for i = 3, #ARGV do faults[i - 2] = due.fault(KEYS[1], KEYS[2], now, ARGV[i], tonumber(ARGV[2])) or '' end
return faults`
	mendSource = `
local now, faults = due.now(ARGV[1]), {}
for i = 3, #ARGV do faults[i - 2] = due.mend(KEYS[1], KEYS[2], now, ARGV[i], tonumber(ARGV[2])) or '' end
return faults`
)

type scripts struct{ add, claim, settle, cancel, move, get, check, mend *redis.Script }

func newScripts() scripts {
	return scripts{
		add: Script(addSource), claim: Script(claimSource), settle: Script(settleSource), cancel: Script(cancelSource),
		move: Script(moveSource), get: Script(getSource), check: Script(checkSource), mend: Script(mendSource),
	}
}
