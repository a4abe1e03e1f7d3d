-- Ends a membership of a shared subscription on one stream, and the subscription with the last one. Sent twice, it acts
-- once.
--
-- KEYS     1 its hash · 2 its claims · 3 the index of shared subscriptions
-- ARGV     1 its name in the index · 2 the member's field
-- Returns  members left
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
call('HDEL', KEYS[1], ARGV[2])

local left, latest = 0, now
local fields = call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
    local deadline = string.sub(fields[i], 1, 2) == 'm:' and tonumber(fields[i + 1])
    if deadline and deadline > now then
        left, latest = left + 1, math.max(latest, deadline)
    end
end
if left == 0 then
    call('DEL', KEYS[1], KEYS[2])
    call('SREM', KEYS[3], ARGV[1])
    return 0
end
local expiry = string.format('%.0f', latest)
call('HSET', KEYS[1], 'until', expiry)
call('PEXPIREAT', KEYS[1], expiry)
call('PEXPIREAT', KEYS[2], expiry)
return left
