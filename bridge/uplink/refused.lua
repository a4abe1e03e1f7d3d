-- Counts what was refused in the name of a device, if there is such a device:
-- else whoever invents ids could fill Redis with them.
--
-- KEYS     1 the device's hash of the registry · 2 hash count at
-- ARGV     1 how many · 2 receipt of the last, Unix ms
-- Returns  how many in all, 0 when there is no such device
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], 'at', ARGV[2])
return redis.call('HINCRBY', KEYS[2], 'count', ARGV[1])
