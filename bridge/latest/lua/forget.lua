-- Forgets what was kept of devices that are gone, or were registered anew since.
--
-- KEYS     for each device: its hash of the registry, latest values, state, refusals, newest time
-- Returns  how many devices were forgotten
--
-- A state begins with a stream id of 24, three counts of 12, and the last receipt of 13 (uplink's commit.lua). Of a device
-- registered anew the tags behind that stay: what it has stored must not be stored again.
local call, sub = redis.call, string.sub
local blank = string.format('%24s%12d%12d%12d%13d%4s', '', 0, 0, 0, 0, '')
local forgotten = 0

local function anew(created, k)
    local state = call('GET', KEYS[k + 2])
    local refused = call('HGET', KEYS[k + 3], 'at')
    if refused and tonumber(refused) < created then
        call('DEL', KEYS[k + 3])
    end
    local at = state and tonumber(sub(state, 61, 73)) or 0
    if at > 0 and at < created then
        call('SET', KEYS[k + 2], blank .. sub(state, #blank + 1))
        call('DEL', KEYS[k + 1], KEYS[k + 4])
        forgotten = forgotten + 1
    end
end

for k = 1, #KEYS, 5 do
    local created = call('HGET', KEYS[k], 'created')
    if created then
        anew(tonumber(created) or 0, k)
    elseif call('DEL', KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]) > 0 then
        forgotten = forgotten + 1
    end
end
return forgotten
