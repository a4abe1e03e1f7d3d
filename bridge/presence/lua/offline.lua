-- An MQTT session has ended. It says nothing of a device that has a newer one.
--
-- KEYS     1 its presence · 2 its registration · 3 devices seen · 4 deadlines of silence · 5 events · 6 devices of the run
-- ARGV     1 device · 2 length of events · 3 run · 4 number of the session · 5 when, ms · 6 cause
-- Returns  1 done · 0 it was not the device's session any more
local presence, device = KEYS[1], ARGV[1]
if removed(presence, KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[2], device, ARGV[5]) then
    call('SREM', KEYS[6], device)
    return 1
end
local was = call('HMGET', presence, 'state', 'via', 'run', 'session', 'epoch', 'since')
local online = was[1] == 'online' and was[2] == 'mqtt' and was[3] == ARGV[3]
if online and was[4] ~= ARGV[4] then return 0 end
call('SREM', KEYS[6], device)
if not online then return 0 end
local at = string.format('%.0f', math.max(tonumber(ARGV[5]), tonumber(was[6])))
call('HSET', presence, 'state', 'offline', 'since', at, 'cause', ARGV[6])
tell(KEYS[5], ARGV[2], device, at, was[5], 'offline', ARGV[6], 'mqtt')
return 1
