-- Makes a node the partition's projector, or keeps it that, and notes how far it has read.
--
-- KEYS     1 the lease, the node's name · 2 the cursor, a stream id
-- ARGV     1 node · 2 lease in ms · 3 how far all was written, '' for as before; it counts only if the node held the lease
-- Returns  {1 the node held the lease, 0 it is new to it; the cursor} · {} another node holds it
local call = redis.call
local owner = call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
    return {}
end
call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if owner and ARGV[3] ~= '' then
    call('SET', KEYS[2], ARGV[3])
end
return {owner and 1 or 0, call('GET', KEYS[2]) or '0-0'}
