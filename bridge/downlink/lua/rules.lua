-- The rules of downlinks, all of them: whatever changes a downlink calls one of these, in one script, so that a downlink, its
-- place in its device's queue and the time when it is next looked at change together. P is the prefix of a partition's keys,
-- clock the time in Unix ms as text ('': that of this Redis), keep how many ms one is kept that has ended, most the attempts that it gets, cap the length of the
-- events stream, about (0: no limit).
--
--   downlink:<id>              hash: what it is, and how it stands
--   downlink:all               ids, which are in the order of their creation
--   downlink:all:<device>      the device's
--   downlink:open:<device>     the device's that have not ended, in their order
--   downlink:queue:<device>    of those, the ones whose time has come
--   downlink:current:<device>  the one that is EXECUTING
--   downlink:contact:<device>  the same, where the device's next contact matters: it may take it over HTTP, or, with " wake" behind
--                              the id, ends the SMS that are to wake it up
--   downlink:last:<device>     "<tag> <id>" of the last one that went out over HTTP
--   downlink:steps:<id>        what happened to it, a list of "<Unix ms> <what> <text>"
--   downlink:n                 how many were ever created
--   downlink:once:<app>:<device>:<key>  the id that an idempotency key made, while that is kept
--   due:downlink               ids by when they are next to be looked at: every downlink is in it, once; its rules are those
--   due:downlink:data          of bridge/due, which stand where it says so below. The data is the device
--   due:sms, due:sms:data      the same for the next attempt by SMS
local rules = function(P, clock, keep, most, cap)
--[[the rules of bridge/due]]
  local call = redis.call
  local set, data, list = P .. 'due:downlink', P .. 'due:downlink:data', P .. 'downlink:all'
  local now = math.floor(due.now(clock))
  local R = {now = now}

  local function key(id) return P .. 'downlink:' .. id end
  local function of(kind, device) return P .. 'downlink:' .. kind .. ':' .. device end

  -- at has a downlink looked at then, whatever was meant before.
  local function at(id, device, ms)
    due.put(set, data, now, id, string.format('%.0f', ms), device)
  end
  R.at = at

  -- lookBy has an open one looked at by then, or sooner: when the claim of its attempt by SMS is over.
  local function lookBy(id, d, ms)
    if d.sms == 'submitting' then ms = math.min(ms, math.ceil(tonumber(call('HGET', key(id), 'by') or '0'))) end
    at(id, d.device, ms)
  end

  -- step notes what happened; of very many the last ones are kept.
  local stepsKept = 400
  local function step(id, what, text)
    local list = P .. 'downlink:steps:' .. id
    if call('RPUSH', list, string.format('%.0f', now) .. ' ' .. what .. ' ' .. text) > stepsKept then call('LTRIM', list, -stepsKept, -1) end
  end

  local function event(fields)
    if cap > 0 then
      call('XADD', P .. 'events', 'MAXLEN', '~', cap, '*', unpack(fields))
    else
      call('XADD', P .. 'events', '*', unpack(fields))
    end
  end

  -- say is tell for what is in the timeline already.
  local function say(id, device, state, cause)
    call('HSET', key(id), 'state', state, 'cause', cause, 'since', now)
    event({'device', device, 'at', now, 'kind', 'downlink', 'id', id, 'state', state, 'cause', cause})
  end

  local function tell(id, device, state, cause)
    say(id, device, state, cause)
    step(id, string.lower(state), cause)
  end

  local advance, finish, expire, back, read, removed, firstSMS


  -- The first of the queue is EXECUTING where none is.
  function advance(device)
    if call('EXISTS', of('current', device)) == 1 then return end
    while true do
      local id = call('ZRANGE', of('queue', device), 0, 0)[1]
      if not id then return end
      local v = call('HMGET', key(id), 'state', 'channel', 'wake')
      if v[1] == 'QUEUED' then
        local wake = v[3] == '1'
        call('SET', of('current', device), id)
        R.await(id, device, v[2], wake)
        if v[2] == 'sms' or wake then firstSMS(id, device, v[2]) end
        return tell(id, device, 'EXECUTING', 'its turn')
      end
      call('ZREM', of('queue', device), id) -- outside hands were here
    end
  end

  -- await notes what the device's next contact means to the one that is EXECUTING.
  function R.await(id, device, channel, wake)
    if wake then
      call('SET', of('contact', device), id .. ' wake')
    elseif channel == 'http' or channel == 'any' then
      call('SET', of('contact', device), id)
    else
      call('DEL', of('contact', device))
    end
  end

  -- What has ended is looked at once more, to be forgotten.
  function finish(id, device, state, cause)
    tell(id, device, state, cause)
    call('HDEL', key(id), 'lease', 'taken')
    if call('HEXISTS', key(id), 'sms') == 1 then
      call('HSET', key(id), 'sms', 'over')
      due.cancel(P .. 'due:sms', P .. 'due:sms:data', id)
    end
    call('ZREM', of('queue', device), id)
    call('ZREM', of('open', device), id)
    at(id, device, now + keep)
    if call('GET', of('current', device)) == id then
      call('DEL', of('current', device), of('contact', device))
      advance(device)
    end
  end

  -- expire ends what was not done in time.
  function expire(id, d, cause)
    if d.channel == 'sms' and d.limit and d.expires >= d.limit then
      return finish(id, d.device, 'FAILED', 'the device was not reached within ' .. R.span(d.limit - d.first) .. ' of the first attempt; the last word was: ' .. d.cause)
    end
    finish(id, d.device, 'EXPIRED', cause or 'its time is over')
  end

  -- An attempt has come to nothing, as far as anybody knows. One of which no byte left is none of those that a downlink gets.
  function back(id, device, d, cause, unsent)
    call('HDEL', key(id), 'lease', 'taken')
    if unsent then d.unsent = call('HINCRBY', key(id), 'unsent', 1) end
    local sent = d.attempts - d.unsent
    if sent >= most then
      finish(id, device, 'FAILED', cause .. '; it was attempt ' .. sent .. ' of ' .. most)
    elseif d.expires <= now then
      expire(id, d, cause .. '; its time is over')
    else
      lookBy(id, d, d.expires)
      if not unsent or d.cause ~= cause then tell(id, device, 'EXECUTING', cause) end
    end
  end

  -- read is nil for what is not there, and for what cannot be a downlink. A device may name any id, so also those of the other
  -- keys that begin like a downlink's: their type must not end the script.
  function read(id)
    local v = redis.pcall('HMGET', key(id), 'device', 'state', 'channel', 'attempts', 'lease', 'expires', 'notbefore', 'ack', 'order',
      'tag', 'taken', 'registered', 'pack', 'since', 'unsent', 'cause', 'sms', 'wake', 'tries', 'began', 'first', 'limit', 'ttl', 'none')
    if v.err then return nil end
    local d = {
      device = v[1], state = v[2], channel = v[3], attempts = tonumber(v[4] or ''), lease = tonumber(v[5] or ''),
      expires = tonumber(v[6] or ''), notbefore = tonumber(v[7] or ''), ack = v[8] == '1', order = v[9],
      tag = v[10], taken = v[11] == '1', registered = v[12], pack = v[13], since = tonumber(v[14] or ''),
      unsent = tonumber(v[15] or '') or 0, cause = v[16] or '', sms = v[17], wake = v[18] == '1', tries = tonumber(v[19] or '') or 0,
      began = tonumber(v[20] or ''), first = tonumber(v[21] or ''), limit = tonumber(v[22] or ''), ttl = v[23] == '1', none = tonumber(v[24] or '') or 0,
    }
    if d.device and d.state and d.channel and d.attempts and d.expires and d.notbefore and tonumber(d.order or '') and d.pack and d.since then
      d.open = d.state == 'QUEUED' or d.state == 'EXECUTING'
      return d
    end
    return nil
  end
  R.read, R.key, R.of, R.advance, R.tell = read, key, of, advance, tell

  -- When the device was registered, false if it is not. One that was registered anew under the same id is another device,
  -- with another owner perhaps.
  local function registration(device)
    local at = call('HGET', P .. 'device:' .. device, 'created')
    return at or call('EXISTS', P .. 'device:' .. device) == 1 and '0'
  end
  function removed(d) return registration(d.device) ~= (d.registered or '0') end

--[[the rules of SMS]]
  -- room is how many a device may have that have not ended; once the idempotency key's own key, '' for none; print tells one
  -- downlink from another. Returns the id and 1 if it was made now, 0 if it was there; or '' and a word that says why not.
  function R.create(id, device, room, once, ttl, notBefore, priority, print, cause, sms, fields)
    local registered, expires = registration(device), now + ttl
    if not registered then return {'', 'unknown'} end
    local before = once ~= '' and call('GET', once)
    if before and call('HGET', key(before), 'registered') == registered then
      if call('HGET', key(before), 'print') ~= print then return {'', 'other'} end
      return {before, '0'}
    end
    if call('ZCARD', of('open', device)) >= room then return {'', 'full'} end
    if sms then
      local number, why = reachable(device)
      if not number then return {'', why} end
    end
    local order = (9 - priority) * 17592186044416 + call('INCR', P .. 'downlink:n')
    call('HSET', key(id), 'device', device, 'created', now, 'expires', expires, 'notbefore', notBefore, 'priority', priority,
      'print', print, 'order', order, 'once', once, 'attempts', 0, 'registered', registered, unpack(fields))
    call('ZADD', list, 0, id)
    call('ZADD', of('all', device), 0, id)
    call('ZADD', of('open', device), order, id)
    if once ~= '' then call('SET', once, id) end
    tell(id, device, 'QUEUED', cause)
    if notBefore > now then
      at(id, device, math.min(notBefore, expires))
    else
      call('ZADD', of('queue', device), order, id)
      at(id, device, expires)
      advance(device)
    end
    return {id, '1'}
  end

  -- hand gives the device's downlink to one contact, for so many ms; the outcome is told by done, under the attempt's number.
  -- Returns id, attempt and pack, or nothing.
  function R.hand(device, via, tag, lease)
    while true do
      local id = call('GET', of('current', device))
      if not id then return {} end
      local d = read(id)
      if not d or d.state ~= 'EXECUTING' then -- outside hands were here
        call('DEL', of('current', device), of('contact', device))
        call('ZREM', of('queue', device), id)
        advance(device)
      elseif removed(d) then
        finish(id, device, 'CANCELLED', 'the device was removed')
      elseif d.channel ~= via and d.channel ~= 'any' or d.lease then
        return {}
      elseif d.expires <= now then
        expire(id, d)
      else
        local attempt = d.attempts + 1
        call('HSET', key(id), 'lease', now + lease, 'attempts', attempt, 'via', via, 'tag', tag, 'handed', now)
        lookBy(id, d, now + lease)
        step(id, 'handed', 'over ' .. via .. ', attempt ' .. attempt - d.unsent)
        if via == 'http' then call('SET', of('last', device), tag .. ' ' .. id, 'PX', keep) end
        return {id, tostring(attempt), d.pack}
      end
    end
  end

  -- again gives a repeated contact over HTTP what it got the first time, and nothing else. Where the outcome of that is open
  -- the repeat is an attempt of its own: the device may take either answer. The attempt is 0 where there is nothing to settle.
  function R.again(device, tag, lease)
    local last = call('GET', of('last', device))
    local id = last and string.sub(last, 1, #tag + 1) == tag .. ' ' and string.sub(last, #tag + 2)
    local d = id and read(id)
    if not d or d.tag ~= tag or removed(d) then return {} end
    if d.state == 'SUCCEEDED' or d.taken then return {id, '0', d.pack} end
    if d.state ~= 'EXECUTING' or d.expires <= now then return {} end
    local attempt = math.min(d.attempts + 1, most + d.unsent)
    call('HSET', key(id), 'lease', now + lease, 'attempts', attempt, 'handed', now)
    lookBy(id, d, now + lease)
    return {id, tostring(attempt), d.pack}
  end

  -- done tells the outcome of an attempt: ok whether it was delivered, unsent that not even a byte of it left. wait is how many ms the device has to acknowledge, if it is to.
  -- That an earlier attempt was delivered, or that one was whose lease is over, is as good; that it was not means nothing.
  -- Told again, it changes nothing. Returns 0 if it means nothing any more.
  function R.done(id, attempt, ok, cause, wait, unsent)
    local d = read(id)
    if not d or d.state ~= 'EXECUTING' or d.taken or attempt > d.attempts then return 0 end
    if not ok and (not d.lease or d.attempts ~= attempt) then return 0 end
    if not ok then
      back(id, d.device, d, cause, unsent)
    elseif d.ack then
      call('HSET', key(id), 'lease', now + wait, 'taken', 1)
      lookBy(id, d, now + wait)
      tell(id, d.device, 'EXECUTING', cause .. '; it waits for the device to acknowledge')
    else
      finish(id, d.device, 'SUCCEEDED', cause)
    end
    return 1
  end

  -- The device says itself that it has it.
  function R.acknowledge(id, device)
    local d = read(id)
    if not d or d.device ~= device or removed(d) or d.state ~= 'EXECUTING' or d.attempts == 0 and not (d.channel == 'sms' and d.tries > d.none) then return 0 end
    finish(id, device, 'SUCCEEDED', 'acknowledged by the device')
    return 1
  end

  -- Returns the state that it was in, '' if there is none.
  function R.cancel(id, cause)
    local d = read(id)
    if not d then return '' end
    if d.channel == 'sms' and d.sms == 'submitting' then return 'HANDED' end
    if d.state == 'QUEUED' or d.state == 'EXECUTING' and not d.lease then
      local loose = d.channel == 'sms' and tonumber(call('HGET', key(id), 'loose') or '') or 0
      if loose > 0 then cause = cause .. ', after ' .. R.named(id, loose) .. ', which may still arrive' end
      finish(id, d.device, 'CANCELLED', cause)
      return d.state
    end
    if d.taken then -- nothing is on its way any more: only the device's word is missing
      finish(id, d.device, 'CANCELLED', cause .. ', after the device took it: it was not acknowledged')
      return d.state
    end
    return d.state == 'EXECUTING' and 'HANDED' or d.state
  end

  -- forget leaves nothing of one, be it ever so damaged.
  function R.forget(id)
    local v = redis.pcall('HMGET', key(id), 'once', 'device')
    local once, device = v[1], v[2] -- nil where the key is of another type
    if once and once ~= '' and call('GET', once) == id then call('DEL', once) end
    call('DEL', key(id), P .. 'downlink:steps:' .. id)
    due.cancel(set, data, id)
    hangUp(id)
    call('ZREM', list, id)
    if not device then return end
    for _, kind in ipairs({'all', 'open', 'queue'}) do call('ZREM', of(kind, device), id) end
    if call('GET', of('current', device)) == id then
      call('DEL', of('current', device), of('contact', device))
      advance(device)
    end
    local last = call('GET', of('last', device))
    if last and string.sub(last, -#id - 1) == ' ' .. id then call('DEL', of('last', device)) end
  end

  -- look does what the time demands of one.
  function R.look(id, schedule)
    local d = read(id)
    local awaited = d and lapsed(id, d, schedule)
    if not d then
      R.forget(id) -- outside hands were here
    elseif awaited and d.channel == 'sms' then
      lookBy(id, d, math.huge) -- whatever its time: what becomes of the attempt is to be known first
    elseif not d.open then
      if d.since + keep <= now then R.forget(id) else at(id, d.device, d.since + keep) end
    elseif removed(d) then
      finish(id, d.device, 'CANCELLED', 'the device was removed')
    elseif d.lease and d.lease > now then
      lookBy(id, d, d.lease)
    elseif d.sms == 'taken' then -- the schedule goes on, where there is something left of it
      call('HDEL', key(id), 'lease', 'taken')
      call('HSET', key(id), 'sms', 'undelivered')
      dial(id, d.device, now)
      at(id, d.device, d.expires)
      tell(id, d.device, 'EXECUTING', (call('HGET', key(id), 'took') or 'an attempt') .. ' by SMS was delivered, and the device did not acknowledge it in time')
    elseif d.taken then
      back(id, d.device, d, 'the device took attempt ' .. d.attempts - d.unsent .. ', and did not acknowledge it in time')
    elseif d.lease then
      back(id, d.device, d, 'nobody knows what became of attempt ' .. d.attempts - d.unsent)
    elseif d.expires <= now then
      expire(id, d)
    elseif d.state == 'QUEUED' and d.notbefore <= now then
      call('ZADD', of('queue', d.device), d.order, id)
      at(id, d.device, d.expires)
      advance(d.device)
    elseif d.state == 'QUEUED' then
      at(id, d.device, math.min(d.notbefore, d.expires))
    else
      lookBy(id, d, d.expires)
    end
  end

  -- lookAt does it for whoever has claimed it, while the claim holds.
  function R.lookAt(id, lease, schedule)
    if due.held(set, id, lease) then R.look(id, schedule) end
  end

  -- The device is gone: so are its downlinks.
  function R.drop(device)
    local ids = call('ZRANGE', of('open', device), 0, -1)
    call('DEL', of('queue', device)) -- so that none of them gets its turn
    for _, id in ipairs(ids) do finish(id, device, 'CANCELLED', 'the device was removed') end
    call('DEL', of('last', device))
    return #ids
  end
  return R
end
