-- Forgets a device or an app if it is as expected, and tells of it.
--
-- KEYS     1 its hash · 2 the index of ids · 3 the change stream · 4 the number of changes
--          of a device: 5 the index of terms · 6 ids by time of creation · 7 ids by time of change
--          8… what else is kept of it
-- ARGV     1 device or app · 2 its id · 3 length of the change stream · 4 the revision expected, '' for any
--          5… its terms
-- Returns  1 done, 0 there was none, -1 it is of another revision
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
if ARGV[4] ~= '' and ARGV[4] ~= redis.call('HGET', KEYS[1], 'rev') then
    return -1
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
for i = 5, #ARGV do redis.call('ZREM', KEYS[5], ARGV[i]) end
if KEYS[6] then
    redis.call('ZREM', KEYS[6], ARGV[2])
    redis.call('ZREM', KEYS[7], ARGV[2])
end
for i = 8, #KEYS do redis.call('DEL', KEYS[i]) end
local n = redis.call('INCR', KEYS[4])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'n', n, 'kind', ARGV[1], 'id', ARGV[2])
return 1
