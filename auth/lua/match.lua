-- Notes which of a device's two secrets matched last, unless the device has changed or it is known already. No other
-- node needs to hear of it.
--
-- KEYS     1 the device's hash
-- ARGV     1 the secret, 1 or 2 · 2 the device's revision when it matched
-- Returns  1 written, 0 not
local auth = redis.call('HGET', KEYS[1], 'auth')
if not auth or string.sub(auth, 1, 1) == ARGV[1] or redis.call('HGET', KEYS[1], 'rev') ~= ARGV[2] then
    return 0
end
redis.call('HSET', KEYS[1], 'auth', ARGV[1] .. string.sub(auth, 2))
return 1
