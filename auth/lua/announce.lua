-- Tells all nodes of something that changes nothing. Sent twice, it is told twice.
--
-- KEYS     1 the change stream · 2 the number of changes
-- ARGV     1 kind · 2 id · 3 length of the change stream
-- Returns  1
local n = redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'n', n, 'kind', ARGV[1], 'id', ARGV[2])
return 1
