-- Takes a device for offline from which nothing came for longer than it is allowed.
--
-- KEYS     1 its presence · 2 its registration · 3 devices seen · 4 deadlines of silence · 5 events
-- ARGV     1 device · 2 length of events · 3 now, ms
-- Returns  1 done · 0 it was heard meanwhile, or is gone
local presence, device = KEYS[1], ARGV[1]
if removed(presence, KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[2], device, ARGV[3]) then return 0 end
local deadline = call('ZSCORE', KEYS[4], device)
if not deadline or tonumber(deadline) > tonumber(ARGV[3]) then return 0 end
call('ZREM', KEYS[4], device)
local was = call('HMGET', presence, 'state', 'via', 'epoch')
if was[1] ~= 'online' or was[2] ~= 'http' then return 0 end
call('HSET', presence, 'state', 'offline', 'since', ARGV[3], 'cause', 'silent')
tell(KEYS[5], ARGV[2], device, ARGV[3], was[3], 'offline', 'silent', 'http')
return 1
