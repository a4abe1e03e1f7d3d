-- Writes a device or an app if it is as expected, and tells of it. Sent twice, it acts once.
--
-- KEYS     1 its hash · 2 the index of ids · 3 the change stream · 4 the number of changes
-- ARGV     1 this operation's own name · 2 the revision expected, '' for none there · 3 the new revision
--          4 device or app · 5 its id · 6 length of the change stream · 7… fields and values of the hash
-- Returns  1 done, 0 it is not as expected
local hash = KEYS[1]
if redis.call('HGET', hash, 'op') == ARGV[1] then
    return 1
end
if (redis.call('HGET', hash, 'rev') or '') ~= ARGV[2] then
    return 0
end
redis.call('HSET', hash, 'op', ARGV[1], 'rev', ARGV[3], unpack(ARGV, 7))
redis.call('ZADD', KEYS[2], 0, ARGV[5])
local n = redis.call('INCR', KEYS[4])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'n', n, 'kind', ARGV[4], 'id', ARGV[5])
return 1
