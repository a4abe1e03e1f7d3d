-- Makes sessions members of a shared subscription on one stream, or renews them. Where no member is left that has kept
-- its deadline, the subscription starts anew. Sent twice, it acts once.
--
-- KEYS     1 its hash · 2 its claims · 3 the index of shared subscriptions
-- ARGV     1 its name in the index · 2, 3 id and number to start at · 4… for each member its field, and for how many ms
-- Returns  {id, number} where it is
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- all gives a command to a hash with any number of words, of which unpack takes only so many.
local function all(command, words)
    for i = 1, #words, 1000 do
        call(command, KEYS[1], unpack(words, i, math.min(i + 999, #words)))
    end
end

local given, set, latest, texts = {}, {}, now, {}
for i = 4, #ARGV, 2 do
    local field, keep = ARGV[i], ARGV[i + 1]
    local text = texts[keep] -- most are for as long as another
    if not text then
        text = string.format('%.0f', now + keep)
        texts[keep], latest = text, math.max(latest, now + keep)
    end
    given[field] = true
    set[i - 3], set[i - 2] = field, text
end

local living, lapsed, at, n = false, {}, ARGV[2], ARGV[3]
local fields, byte = call('HGETALL', KEYS[1]), string.byte
for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    if byte(field, 2) == 58 then -- m:
        local renewed = given[field]
        if not (renewed and living) then
            local deadline = tonumber(value)
            if deadline > now then
                living = true
                if not renewed and deadline > latest then latest = deadline end
            elseif not renewed then
                lapsed[#lapsed + 1] = field
            end
        end
    elseif field == 'at' then
        at = value
    elseif field == 'n' then
        n = value
    end
end
if latest == now then -- nobody would be a member
    return {ARGV[2], ARGV[3]}
end
if living then
    all('HDEL', lapsed)
else
    at, n = ARGV[2], ARGV[3]
    call('DEL', KEYS[1], KEYS[2])
    call('HSET', KEYS[1], 'at', at, 'n', n)
    call('SADD', KEYS[3], ARGV[1])
end
local expiry = string.format('%.0f', latest)
set[#set + 1] = 'until'
set[#set + 1] = expiry
all('HSET', set)
call('PEXPIREAT', KEYS[1], expiry)
call('PEXPIREAT', KEYS[2], expiry)
return {at, n}
