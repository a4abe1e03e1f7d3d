-- Writes values of devices, each where it is later than the one that is there. Sent twice, it acts once.
--
-- KEYS     1 the partition's lease, then for each device: its hash of the registry, its hash of latest values
-- ARGV     1 node · 2 names kept of a device, at most · then for each device: how many values, receipt of the oldest in
--          Unix ms, time of the oldest value and of the newest as values have it, then names and values in turn
-- Returns  1 done, 0 another node holds the lease
--
-- A value begins with its time, 16 digits of Unix µs, and the id of its uplink. Nothing is written for a device that is
-- gone, or was registered after the uplink: that was of another's life. The name '' has the newest time of all values:
-- what is newer than that, which most is, needs no look at what it replaces.
local call, sub, match = redis.call, string.sub, string.match

local function later(was, is)
    if not was then
        return true
    end
    local before, now = sub(was, 1, 16), sub(is, 1, 16)
    if before ~= now then
        return before < now
    end
    local ms, seq = match(was, '^(%d+)%-(%d+)', 18)
    local newMs, newSeq = match(is, '^(%d+)%-(%d+)', 18)
    if ms ~= newMs then
        return tonumber(ms, 10) < tonumber(newMs, 10)
    end
    return tonumber(seq, 10) < tonumber(newSeq, 10)
end

-- The oldest go.
local function trim(key, excess)
    local all, order, gone = call('HGETALL', key), {}, {}
    for i = 1, #all, 2 do
        if all[i] ~= '' then
            order[#order + 1] = {sub(all[i + 1], 1, 16), all[i]}
        end
    end
    table.sort(order, function(a, b) return a[1] < b[1] end)
    for i = 1, excess do
        gone[i] = order[i][2]
    end
    call('HDEL', key, unpack(gone))
end

-- What is later of names and values in turn, from one argument up to another.
local function sift(key, from, to)
    local names, set = {}, {}
    for i = from, to, 2 do
        names[#names + 1] = ARGV[i]
    end
    local known = call('HMGET', key, unpack(names))
    for i, name in ipairs(names) do
        local text = ARGV[from + 2 * i - 1]
        if later(known[i], text) then
            set[#set + 1] = name
            set[#set + 1] = text
        end
    end
    return set
end

local function merge(key, oldest, newest, from, to)
    local known, new = call('HGET', key, ''), 0
    if not known or known < oldest then
        new = call('HSET', key, '', newest, unpack(ARGV, from, to))
    else
        local set = sift(key, from, to)
        if #set == 0 then
            return
        end
        new = call('HSET', key, '', known < newest and newest or known, unpack(set))
    end
    if new > 0 then
        local excess = call('HLEN', key) - 1 - ARGV[2]
        if excess > 0 then
            trim(key, excess)
        end
    end
end

if call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
local a = 3
for k = 2, #KEYS, 2 do
    local n, at = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
    local created = tonumber(call('HGET', KEYS[k], 'created') or '')
    if created and created <= at then
        merge(KEYS[k + 1], ARGV[a + 2], ARGV[a + 3], a + 4, a + 3 + 2 * n)
    end
    a = a + 4 + 2 * n
end
return 1
