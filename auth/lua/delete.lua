-- Forgets a device or an app, and tells of it.
--
-- KEYS     1 its hash · 2 the index of ids · 3 the change stream · 4 the number of changes
-- ARGV     1 device or app · 2 its id · 3 length of the change stream
-- Returns  1 done, 0 there was none
if redis.call('DEL', KEYS[1]) == 0 then
    return 0
end
redis.call('ZREM', KEYS[2], ARGV[2])
local n = redis.call('INCR', KEYS[4])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'n', n, 'kind', ARGV[1], 'id', ARGV[2])
return 1
