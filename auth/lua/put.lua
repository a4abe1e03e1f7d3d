-- Writes a device or an app if it is as expected, and tells of it. Sent twice, it acts once.
--
-- KEYS     1 its hash · 2 the index of ids · 3 the change stream · 4 the number of changes
--          of a device: 5 the index of terms · 6 ids by time of creation · 7 ids by time of change
-- ARGV     1 this operation's own name · 2 the revision expected, '' for none there · 3 the new revision
--          4 device or app · 5 its id · 6 length of the change stream · 7 when it was created
--          8 f, how many fields and values follow · 9 t, how many terms that go follow them
--          10… f fields and values of the hash, t terms that go, and terms that come
-- Returns  1 done, 0 it is not as expected
local hash = KEYS[1]
if redis.call('HGET', hash, 'op') == ARGV[1] then
    return 1
end
if (redis.call('HGET', hash, 'rev') or '') ~= ARGV[2] then
    return 0
end
local fields, go = 9 + tonumber(ARGV[8]), 9 + ARGV[8] + ARGV[9]
redis.call('HSET', hash, 'op', ARGV[1], 'rev', ARGV[3], 'created', ARGV[7], unpack(ARGV, 10, fields))
redis.call('ZADD', KEYS[2], 0, ARGV[5])
if KEYS[5] then
    for i = fields + 1, go do redis.call('ZREM', KEYS[5], ARGV[i]) end
    for i = go + 1, #ARGV do redis.call('ZADD', KEYS[5], 0, ARGV[i]) end
    redis.call('ZADD', KEYS[6], ARGV[7], ARGV[5])
    redis.call('ZADD', KEYS[7], ARGV[3], ARGV[5])
end
local n = redis.call('INCR', KEYS[4])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'n', n, 'kind', ARGV[4], 'id', ARGV[5])
return 1
