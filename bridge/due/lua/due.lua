-- The rules of an entry of a due set, which nothing else changes. Prefixed to every script that changes one, in this
-- package and above it; see Script in lua.go. In all functions:
--
-- set, data  keys of one kind in one partition: the sorted set of ids by when they are due, and the hash of their data
-- now        what due.now gave, Unix ms with a fraction
-- at         when it is to be acted on, text: Unix ms, or '+' and ms from now
-- value      the entry's data, a string; nil leaves it as it is
-- lease      what due.claim gave, text
--
-- A score is a whole ms, or of a claimed entry its lease: the end of it, with the microsecond of the claim, so that no
-- two claims of an entry have the same.
local due = {}
do
    local call = redis.call

    -- whole writes a time for others to read, exact one that has a fraction.
    local function whole(ms) return string.format('%.0f', ms) end
    local function exact(ms) return string.format('%.3f', ms) end

    -- moment reads a time; what has a fraction of a ms comes after it, never before.
    local function moment(now, at)
        if string.sub(at, 1, 1) == '+' then return math.ceil(now + tonumber(string.sub(at, 2))) end
        return math.ceil(tonumber(at))
    end

    -- first is the score of the first entry of a set when this script began, or since. That it may be of an entry which
    -- has gone does no harm: who sleeps wakes then, and looks.
    local known = {}
    local function first(set)
        if not known[set] then known[set] = tonumber(call('ZRANGE', set, 0, 0, 'WITHSCORES')[2] or math.huge) end
        return known[set]
    end

    -- place gives an entry its score, and wakes those who sleep for a later one.
    local function place(set, now, id, at)
        local ms, before = moment(now, at), first(set)
        call('ZADD', set, whole(ms), id)
        if before <= ms then return end
        known[set] = ms
        local partition, kind = string.match(set, '{(%d+)}:(.+)$')
        if kind then call('PUBLISH', 'm2m:' .. kind, partition .. ' ' .. whole(math.max(ms - now, 0))) end
    end

    -- put sets when an entry is due, whoever has claimed it, and makes it where there is none.
    function due.put(set, data, now, id, at, value)
        if value then call('HSET', data, id, value) end
        place(set, now, id, at)
        return true
    end

    local function remove(set, data, id)
        call('HDEL', data, id)
        call('ZREM', set, id)
    end

    -- now is the time by the clock of this Redis; given, text, overrules it unless it is ''.
    function due.now(given)
        if given ~= '' then return tonumber(given) end
        local time = call('TIME')
        return time[1] * 1000 + time[2] / 1000
    end

    -- get gives an entry's score and data as text; nil when there is none.
    function due.get(set, data, id)
        local score, value = call('ZSCORE', set, id), call('HGET', data, id)
        if score and value then return score, value end
    end

    -- add makes an entry; false when there is one of that id, which stays as it is.
    function due.add(set, data, now, id, at, value)
        if call('ZSCORE', set, id) then return false end
        return due.put(set, data, now, id, at, value)
    end

    -- cancel removes an entry, whoever has claimed it; false when there is none.
    function due.cancel(set, data, id)
        if not call('ZSCORE', set, id) then return false end
        remove(set, data, id)
        return true
    end

    -- move sets another time, whoever has claimed the entry; false when there is none.
    function due.move(set, data, now, id, at, value)
        if not call('ZSCORE', set, id) then return false end
        return due.put(set, data, now, id, at, value)
    end

    -- held tells whether a lease is the entry's present one, expired or not.
    function due.held(set, id, lease)
        local score = call('ZSCORE', set, id)
        return score and tonumber(score) == tonumber(lease) or false
    end

    -- settle ends a claim: at is when to act again, nil when all is done. False: the lease is not the present one.
    function due.settle(set, data, now, id, lease, at, value)
        if not due.held(set, id, lease) then return false end
        if not at then
            remove(set, data, id)
            return true
        end
        return due.put(set, data, now, id, at, value)
    end

    -- claim leases up to n entries (at most 1000) that are due, those first that were so first. Gives the lease, their
    -- ids, their data (false for an id that has none), and for how many ms the first one has been due. Scores are not
    -- asked for: a sixth of all that a claim costs.
    function due.claim(set, data, now, ms, n)
        local ids = call('ZRANGE', set, '-inf', exact(now), 'BYSCORE', 'LIMIT', 0, n)
        if not ids[1] then return '', {}, {}, 0 end
        local late = now - tonumber(call('ZSCORE', set, ids[1]))
        local lease, moves = exact(now + ms), {}
        for i = 1, #ids do moves[2 * i - 1], moves[2 * i] = lease, ids[i] end
        local values = call('HMGET', data, unpack(ids))
        call('ZADD', set, unpack(moves))
        return lease, ids, values, late
    end

    -- wait is ms until the first entry of the set is due, not above 0 if one is; nil when there is none.
    function due.wait(set, now)
        local first = call('ZRANGE', set, 0, 0, 'WITHSCORES')
        return first[1] and tonumber(first[2]) - now
    end

    -- fault says what is wrong with an entry: 'no data', 'no member', 'too far' (more than ms from now); nil: nothing.
    function due.fault(set, data, now, id, ms)
        local score, known = call('ZSCORE', set, id), call('HEXISTS', data, id) == 1
        if known and not score then return 'no member' end
        if score and not known then return 'no data' end
        if score and tonumber(score) > now + ms then return 'too far' end
    end

    -- mend sets it right: what has data becomes due now, what has none is removed.
    function due.mend(set, data, now, id, ms)
        local fault = due.fault(set, data, now, id, ms)
        if fault == 'no data' then remove(set, data, id) end
        if fault == 'no member' or fault == 'too far' then place(set, now, id, '+0') end
        return fault
    end
end
