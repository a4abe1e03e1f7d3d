-- Writes values of devices, each where it is later than the one that is there. Sent twice, it acts once.
--
-- KEYS     1 the partition's lease, then for each device: its hash of the registry, its hash of latest values
-- ARGV     1 node · 2 names kept of a device, at most · then for each device: how many values, receipt of the oldest in
--          Unix ms, the names, the values
-- Returns  1 done, 0 another node holds the lease
--
-- A value begins with its time, 16 digits of Unix µs, and the id of its uplink. Nothing is written for a device that is
-- gone, or was registered after the uplink: that was of another's life.
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
        order[#order + 1] = {sub(all[i + 1], 1, 16), all[i]}
    end
    table.sort(order, function(a, b) return a[1] < b[1] end)
    for i = 1, excess do
        gone[i] = order[i][2]
    end
    call('HDEL', key, unpack(gone))
end

local function merge(key, from, n)
    local known, set = call('HMGET', key, unpack(ARGV, from, from + n - 1)), {}
    for i = 1, n do
        local text = ARGV[from + n + i - 1]
        if later(known[i], text) then
            set[#set + 1] = ARGV[from + i - 1]
            set[#set + 1] = text
        end
    end
    if #set == 0 then
        return
    end
    call('HSET', key, unpack(set))
    local excess = call('HLEN', key) - ARGV[2]
    if excess > 0 then
        trim(key, excess)
    end
end

if call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
local a = 3
for k = 2, #KEYS, 2 do
    local n, at = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
    local created = call('HGET', KEYS[k], 'created')
    if created and tonumber(created) <= at then
        merge(KEYS[k + 1], a + 2, n)
    end
    a = a + 2 + 2 * n
end
return 1
