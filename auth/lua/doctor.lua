-- Holds the indexes against the hash of a device or an app as it was read, and mends them.
--
-- KEYS     1 its hash · 2 the index of ids · 3 the change stream · 4 the number of changes
--          of a device: 5 the index of terms · 6 ids by time of creation · 7 ids by time of change
-- ARGV     1 device or app · 2 its id · 3 length of the change stream · 4 '1' to mend
--          5 the field rev as it was read, 'gone' for no hash · 6 what it is to be · 7 when it was created
--          8… the terms it must be found by
-- Returns  what is wrong, in words; nothing if it has changed since it was read
local hash, id, mend = KEYS[1], ARGV[2], ARGV[4] == '1'
local there = redis.call('EXISTS', hash) == 1
local rev = there and (redis.call('HGET', hash, 'rev') or '') or 'gone'
if rev ~= ARGV[5] then
    return {}
end
local faults = {}
-- wrong notes a fault; it is to be mended if it returns true.
local function wrong(what)
    faults[#faults + 1] = what
    return mend
end
local function member(index, score, what)
    local has = redis.call('ZSCORE', index, id)
    if not there then
        if has and wrong('it is in ' .. what .. ', and there is none') then redis.call('ZREM', index, id) end
    elseif not has then
        if wrong('it is not in ' .. what) then redis.call('ZADD', index, score, id) end
    elseif tonumber(has) ~= tonumber(score) then
        if wrong('it is in the wrong place of ' .. what) then redis.call('ZADD', index, score, id) end
    end
end
if there and rev ~= ARGV[6] and wrong('its revision is not that of its record') then
    redis.call('HSET', hash, 'rev', ARGV[6])
end
member(KEYS[2], 0, 'the list of ids')
if KEYS[5] then
    member(KEYS[6], ARGV[7], 'the list by creation')
    member(KEYS[7], ARGV[6], 'the list by change')
    local missing = 0
    for i = 8, #ARGV do
        if not redis.call('ZSCORE', KEYS[5], ARGV[i]) then
            missing = missing + 1
            if mend then redis.call('ZADD', KEYS[5], 0, ARGV[i]) end
        end
    end
    if missing > 0 then wrong('a search would not find it') end
end
if mend and #faults > 0 then
    local n = redis.call('INCR', KEYS[4])
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'n', n, 'kind', ARGV[1], 'id', id)
end
return faults
