-- Takes a device for offline whose node has died.
--
-- KEYS     1 its presence · 2 its registration · 3 devices seen · 4 deadlines of silence · 5 events · 6 devices of the run · 7 runs
-- ARGV     1 device · 2 length of events · 3 run
-- Returns  1 done · 0 the device was elsewhere · -1 the node lives
local presence, device, now = KEYS[1], ARGV[1], ms()
local lease = call('ZSCORE', KEYS[7], ARGV[3])
if lease and tonumber(lease) > now then return -1 end
call('SREM', KEYS[6], device)
local at = string.format('%.0f', now)
if removed(presence, KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[2], device, at) then return 1 end
local was = call('HMGET', presence, 'state', 'via', 'run', 'epoch')
if was[1] ~= 'online' or was[2] ~= 'mqtt' or was[3] ~= ARGV[3] then return 0 end
call('HSET', presence, 'state', 'offline', 'since', at, 'cause', 'node gone')
tell(KEYS[5], ARGV[2], device, at, was[4], 'offline', 'node gone', 'mqtt')
return 1
