-- A device was heard over HTTP: it is online until it is silent for longer than it ever is. What is usual is learned as
-- TCP learns its time-out (RFC 6298 §2): the smoothed gap between uplinks and its deviation.
--
-- KEYS     1 its presence · 2 its registration · 3 devices seen · 4 deadlines of silence · 5 events
-- ARGV     1 device · 2 length of events · 3 when, ms · 4 gaps to be seen before the learned is used · 5 silence allowed until then, ms
--          6 least and 7 greatest silence allowed, ms · 8 least and 9 longest time until it is to be told again, ms
-- Returns  for how many ms further uplinks need not be told
local presence, device, at = KEYS[1], ARGV[1], tonumber(ARGV[3])
if removed(presence, KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[2], device, ARGV[3]) then return 0 end
local was = call('HMGET', presence, 'state', 'via', 'last', 'gap', 'deviation', 'gaps', 'allowed', 'epoch')
if was[1] == 'online' and was[2] == 'mqtt' then return tonumber(ARGV[8]) end
local last, gap, deviation, gaps = tonumber(was[3]), tonumber(was[4]), tonumber(was[5]), tonumber(was[6]) or 0
if last and at <= last then return tonumber(ARGV[8]) end -- another node was before us

if last then
    -- A long silence makes the device slower, but not at once as slow as that.
    local seen = math.min(at - last, 2 * (tonumber(was[7]) or at))
    if gap then
        deviation = 0.75 * deviation + 0.25 * math.abs(gap - seen)
        gap = 0.875 * gap + 0.125 * seen
    else
        gap, deviation = seen, seen / 2
    end
    gaps = gaps + 1
end
local allowed = tonumber(ARGV[5])
if gaps >= tonumber(ARGV[4]) then
    -- One uplink may be lost.
    allowed = math.min(math.max(gap + 4 * deviation, 2.5 * gap, tonumber(ARGV[6])), tonumber(ARGV[7]))
end
local function text(n) return string.format('%.0f', n) end
call('HSET', presence, 'last', ARGV[3], 'gaps', text(gaps), 'allowed', text(allowed))
if gap then call('HSET', presence, 'gap', text(gap), 'deviation', text(deviation)) end
call('ZADD', KEYS[4], text(at + allowed), device)
call('ZADD', KEYS[3], 0, device)
if was[1] ~= 'online' then
    call('HSET', presence, 'state', 'online', 'via', 'http', 'since', ARGV[3], 'cause', 'uplink', 'run', '')
    tell(KEYS[5], ARGV[2], device, ARGV[3], was[8], 'online', 'uplink', 'http')
end
if not gap then return tonumber(ARGV[8]) end
return math.floor(math.max(tonumber(ARGV[8]), math.min(gap / 4, tonumber(ARGV[9]))))
