-- Moves a shared subscription from one position to another and claims messages between them. Sent twice, it acts once,
-- unless somebody else has moved it meanwhile; then the claims lapse.
--
-- KEYS     1 its hash · 2 its claims
-- ARGV     1 this operation's own name · 2 id it must be at · 3, 4 id and number to move to · 5 lease in ms
--          6… ids to claim
-- Returns  {1, id, number} done · {0, id, number} it is elsewhere · {} there is none
local call = redis.call
local at = call('HMGET', KEYS[1], 'at', 'n', 'op', 'until')
if not at[1] then
    return {}
end
if at[1] == ARGV[3] and at[3] == ARGV[1] then
    return {1, at[1], at[2]}
end
if at[1] ~= ARGV[2] then
    return {0, at[1], at[2]}
end
if #ARGV > 5 then
    local time = call('TIME')
    local score = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[5])
    for i = 6, #ARGV do
        call('ZADD', KEYS[2], score, ARGV[i])
    end
    call('PEXPIREAT', KEYS[2], at[4])
end
call('HSET', KEYS[1], 'at', ARGV[3], 'n', ARGV[4], 'op', ARGV[1])
return {1, ARGV[3], ARGV[4]}
