-- Writes devices of one partition, or an app, each if it is as expected, and tells of them. Sent twice, it acts once.
--
-- KEYS     1 the index of ids · 2 the change stream · 3 the number of changes
--          of devices: 4 the index of terms · 5 ids by time of creation · 6 ids by time of change
--          then the hash of each
-- ARGV     1 this operation's own name · 2 device or app · 3 length of the change stream
--          then of each: its id · the revision expected, '' for none there · the new revision · when it was created
--          · how many fields and values of the hash, terms that go, and terms that come follow · those
-- Returns  of each: 1 done, 0 it is not as expected
local op, kind, ids, results = ARGV[1], ARGV[2], {}, {}
local index, created, modified, go = {}, {}, {}, {}
-- The first terms of all devices, the second ones …: of much the same kind they have much the same place in the index, and
-- adding them one after the other is a third cheaper than by device.
local come = {}

local function score(list, at, id)
    list[#list + 1] = at
    list[#list + 1] = id
end

-- call passes a list on in pieces that fit Lua's stack.
local function call(command, key, list)
    for i = 1, #list, 1000 do redis.call(command, key, unpack(list, i, math.min(i + 999, #list))) end
end

local at = 4
for k = kind == 'device' and 7 or 4, #KEYS do
    local id, rev, born = ARGV[at], ARGV[at + 2], ARGV[at + 3]
    local fields = at + 7
    local gone = fields + ARGV[at + 4]
    local coming = gone + ARGV[at + 5]
    local following = coming + ARGV[at + 6]
    local have = redis.call('HMGET', KEYS[k], 'op', 'rev')
    results[#results + 1] = 1
    if have[1] == op then
        -- It was written when this was sent before.
    elseif (have[2] or '') ~= ARGV[at + 1] then
        results[#results] = 0
    else
        redis.call('HSET', KEYS[k], 'op', op, 'rev', rev, 'created', born, unpack(ARGV, fields, gone - 1))
        ids[#ids + 1] = id
        score(index, '0', id)
        score(created, born, id)
        score(modified, rev, id)
        for i = gone, coming - 1 do go[#go + 1] = ARGV[i] end
        for i = coming, following - 1 do
            local nth = i - coming + 1
            come[nth] = come[nth] or {}
            score(come[nth], '0', ARGV[i])
        end
    end
    at = following
end
if #ids == 0 then
    return results
end
call('ZADD', KEYS[1], index)
if kind == 'device' then
    call('ZREM', KEYS[4], go)
    for _, list in ipairs(come) do call('ZADD', KEYS[4], list) end
    call('ZADD', KEYS[5], created)
    call('ZADD', KEYS[6], modified)
end
-- One entry for all takes a number for each: a reader that does not know such entries sees that it missed some.
local n = redis.call('INCRBY', KEYS[3], #ids)
if #ids > 1 then
    kind = kind .. 's'
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'n', n, 'kind', kind, 'id', table.concat(ids, '\t'))
return results
