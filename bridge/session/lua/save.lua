-- Keeps a session as it is, as long as it is its owner's. Sent twice, it acts once; what is older than what is kept
-- comes too late, and changes nothing.
--
-- KEYS     1 its record · 2 the index by expiry · 3 the index by name
-- ARGV     1 its name · 2 owner · 3 '1' connected, '0' detached · 4 lease in ms · 5 expiry in ms
--          6 form · 7 subs, '' for those that are kept · 8 cursors · 9 inflight · 10 number among the owner's saves
-- Returns  1 kept, or forgotten as asked · 0 there is none · -1 it is another's
local call = redis.call
local was = call('HMGET', KEYS[1], 'owner', 'seq')
local owner = was[1]
local ends = ARGV[3] == '0' and ARGV[5] == '0'
if not owner then
    return ends and 1 or 0
end
if owner ~= ARGV[2] then
    return -1
end
if was[2] and tonumber(was[2]) >= tonumber(ARGV[10]) then
    return 1
end
if ends then
    call('DEL', KEYS[1])
    call('ZREM', KEYS[2], ARGV[1])
    call('ZREM', KEYS[3], ARGV[1])
    return 1
end
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = string.format('%.0f', now)
if ARGV[7] == '' then
    call('HSET', KEYS[1], 'connected', ARGV[3], 'seen', seen, 'expiry', ARGV[5], 'form', ARGV[6],
        'cursors', ARGV[8], 'inflight', ARGV[9], 'seq', ARGV[10])
else
    call('HSET', KEYS[1], 'connected', ARGV[3], 'seen', seen, 'expiry', ARGV[5], 'form', ARGV[6],
        'cursors', ARGV[8], 'inflight', ARGV[9], 'seq', ARGV[10], 'subs', ARGV[7])
end
local lease = ARGV[3] == '1' and ARGV[4] or 0
call('ZADD', KEYS[2], string.format('%.0f', now + lease + ARGV[5]), ARGV[1])
return 1
