-- Makes a session one connection's, new or with what was kept of it. Sent twice, it acts once: an owner is new with
-- each open. What was kept has the field subs, which only save.lua writes.
--
-- KEYS     1 its record · 2 the index by expiry · 3 the index by name
-- ARGV     1 its name, app/clientid · 2 owner · 3 when its app was created, ms · 4 '1' to forget what was kept
--          5 sessions that the app may have, 0: any number · 6, 7 range of the app's names
--          8 lease in ms · 9 expiry in ms · 10 node · 11 remote · 12 version · 13 form of what is kept
-- Returns  {0} too many · {1} new · {1, app created, subs} new, in the place of another that is forgotten
--          {2, form, subs, cursors, inflight, connected} kept; connected: '1' if it was when this owner came, '0' if it
--          had been detached
local call = redis.call
local record, index, names, name = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local score = call('ZSCORE', index, name)
local was = call('HMGET', record, 'owner', 'appcreated', 'form', 'subs', 'cursors', 'inflight', 'connected', 'found', 'expiry', 'seq')
local again = was[1] == ARGV[2]
-- An owner that has saved nothing, a login that was refused in the end, has changed nothing of what it found.
local found = (again or not was[10] and was[8] ~= '') and was[8] or was[7] or ''
-- One without expiry ends with its connection, also when nobody could say yet that it ended (MQTT 5 3.1.2.11.2).
local kept = again or (was[1] and score and tonumber(score) > now and was[2] == ARGV[3] and was[9] ~= '0' and ARGV[4] ~= '1')

if not score and ARGV[5] ~= '0' and call('ZLEXCOUNT', names, ARGV[6], ARGV[7]) >= tonumber(ARGV[5]) then
    return {0}
end
if not kept then
    call('DEL', record)
    call('HSET', record, 'created', string.format('%.0f', now))
elseif not again then
    call('HDEL', record, 'seq')
end
call('HSET', record, 'owner', ARGV[2], 'appcreated', ARGV[3], 'connected', '1', 'seen', string.format('%.0f', now),
    'expiry', ARGV[9], 'node', ARGV[10], 'remote', ARGV[11], 'version', ARGV[12], 'found', kept and found or '', 'form', kept and was[3] or ARGV[13])
call('ZADD', index, string.format('%.0f', now + ARGV[8] + ARGV[9]), name)
call('ZADD', names, 0, name)
if kept and was[4] then
    return {2, was[3], was[4], was[5], was[6], found}
end
if was[1] and not kept then
    return {1, was[2] or '', was[4] or ''}
end
return {1}
