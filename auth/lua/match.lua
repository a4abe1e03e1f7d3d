-- Notes which of a device's two secrets matched last, unless the device has changed or it is known already, and counts the
-- messages made with the newest. No other node needs to hear of it.
--
-- KEYS     1 the device's hash
-- ARGV     1 the secret, 1 or 2 · 2 the device's revision when it matched · 3 messages to count
-- Returns  the messages counted so far, 0 if the device has changed
local auth = redis.call('HGET', KEYS[1], 'auth')
if not auth or redis.call('HGET', KEYS[1], 'rev') ~= ARGV[2] then
    return 0
end
if string.sub(auth, 1, 1) ~= ARGV[1] then
    redis.call('HSET', KEYS[1], 'auth', ARGV[1] .. string.sub(auth, 2))
end
return redis.call('HINCRBY', KEYS[1], 'uses', ARGV[3])
