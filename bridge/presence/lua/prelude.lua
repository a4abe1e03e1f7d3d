-- What every script begins with.
local call = redis.call

local function ms()
    local time = call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- tell adds an event to a stream of about that length; 0: any.
local function tell(stream, length, device, at, epoch, state, cause, via)
    local words = {stream}
    if length ~= '0' then words = {stream, 'MAXLEN', '~', length} end
    for _, word in ipairs({'*', 'device', device, 'at', at, 'kind', 'presence', 'id', epoch or '', 'state', state, 'cause', cause, 'via', via}) do
        words[#words + 1] = word
    end
    call('XADD', unpack(words))
end

-- removed forgets a device that is not registered any more, and tells who knew it online.
local function removed(presence, registration, seen, deadlines, stream, length, device, at)
    if call('EXISTS', registration) == 1 then return false end
    local was = call('HMGET', presence, 'state', 'via', 'epoch')
    if was[1] == 'online' then tell(stream, length, device, at, was[3], 'offline', 'removed', was[2]) end
    call('DEL', presence)
    call('ZREM', deadlines, device)
    call('ZREM', seen, device)
    return true
end
