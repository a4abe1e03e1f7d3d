-- A device has an MQTT session on a node: the newest wins, in the order in which they come here. Sent twice, it acts once.
--
-- KEYS     1 its presence · 2 its registration · 3 devices seen · 4 deadlines of silence · 5 events · 6 devices of the run · 7 runs
-- ARGV     1 device · 2 length of events · 3 run · 4 number of the session · 5 since when, ms · 6 its epoch, '' if it has none yet
--          7 '1': it was sent before, perhaps in vain · 8 lease of a run, ms · 9 what a key of devices of a run begins with
-- Returns  epoch · 0 the device is not registered · -1 a newer session has taken over
local presence, devices, device, run, since = KEYS[1], KEYS[6], ARGV[1], ARGV[3], ARGV[5]
if removed(presence, KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[2], device, since) then
    call('SREM', devices, device)
    return 0
end
local was = call('HMGET', presence, 'state', 'via', 'run', 'session', 'epoch', 'since')
local online, epoch = was[1] == 'online' and was[2] == 'mqtt', tonumber(was[5]) or 0
if online and was[3] == run and was[4] == ARGV[4] then
    call('SADD', devices, device)
    return epoch
end
if ARGV[6] ~= '' and epoch > tonumber(ARGV[6]) then return -1 end
if ARGV[7] == '1' and online and was[3] ~= run and tonumber(was[6]) > tonumber(since) then return -1 end

-- Never one that was given before, though what is kept were lost or the device removed and registered anew.
local now = ms()
epoch = math.max(epoch + 1, now)
local text = string.format('%.0f', epoch)
if online and was[3] ~= run then call('SREM', ARGV[9] .. was[3], device) end
call('HSET', presence, 'state', 'online', 'via', 'mqtt', 'since', since, 'cause', 'connected', 'run', run, 'session', ARGV[4], 'epoch', text)
call('SADD', devices, device)
call('ZADD', KEYS[3], 0, device)
call('ZADD', KEYS[7], 'NX', string.format('%.0f', now + ARGV[8]), run)
call('ZREM', KEYS[4], device)
tell(KEYS[5], ARGV[2], device, since, text, 'online', 'connected', 'mqtt')
return epoch
