  -- The rules of SMS, a part of rules.lua. A downlink of channel sms is one, and one with wake has one beside it, which asks the device
  -- to come. Both are tried by the schedule while they are EXECUTING; in the downlink's hash:
  --
  --   sms      how it stands: due · submitting, the outcome of which is awaited · accepted, its receipts are · refused · undelivered ·
  --            unknown · taken, only the device's acknowledgement is missing · heard, it is to wake its device up and was delivered ·
  --            over: no attempt is left, or none is needed
  --   tries    how often one was begun: the number of the last attempt, which no other has
  --   none     of those, how many were none: not a byte left
  --   as<n>    what people call attempt n: its number among those that were one
  --   loose    the last attempt that may arrive still, 0 if none may
  --   began    when the last attempt began · by: the lease under which
  --   first    when the first one did · limit: when its time is over, by that
  --   r<n>.<i> what the last receipt said of part i of attempt n, a state and '' or the class of a final one that is bad
  --
  -- A schedule is text: offsets of the attempts from the first, and behind ';' the limit, in ms.
  local settled = {taken = true, heard = true, over = true} -- no attempt is to be made
  R.settled = settled
  local smsSet, smsData = P .. 'due:sms', P .. 'due:sms:data'

  local function dial(id, device, ms)
    due.put(smsSet, smsData, now, id, string.format('%.0f', ms), device)
  end

  local function hangUp(id) due.cancel(smsSet, smsData, id) end

  local function tellSMS(id, device, state, text)
    event({'device', device, 'at', now, 'kind', 'sms', 'id', id, 'state', state, 'cause', text})
    step(id, string.lower(state), text)
  end

  -- nextAt is when the next attempt is due, nil if none is left. One that was late is not followed at once by another: the next
  -- is half a step away at least.
  local function nextAt(first, schedule)
    local before = 0
    for text in string.gmatch(string.match(schedule, '^[^;]*'), '%d+') do
      local offset = tonumber(text)
      if offset > 0 and first + offset >= now + (offset - before) / 2 then return first + offset end
      before = offset
    end
  end

  -- span is a time as people write it.
  local function span(ms)
    for _, unit in ipairs({{'h', 3600000}, {'m', 60000}, {'s', 1000}}) do
      if ms % unit[2] == 0 then return string.format('%.0f%s', ms / unit[2], unit[1]) end
    end
    return string.format('%.3fs', ms / 1000)
  end
  R.span = span

  local function limitOf(schedule) return tonumber(string.match(schedule, ';(%d+)$')) end

  -- reachable gives the device's number, or nothing and why it cannot be reached by SMS.
  local function reachable(device)
    local about = call('HGET', P .. 'device:' .. device, 'about')
    local ok, a = pcall(cjson.decode, about or '{}')
    if not ok then return nil, 'unreadable' end
    if a.sms == false then return nil, 'barred' end
    if not a.msisdn or a.msisdn == '' then return nil, 'numberless' end
    return a.msisdn
  end
  -- disabled: nothing of the device is accepted. The field is auth's own text.
  local function disabled(device)
    local flags = string.match(call('HGET', P .. 'device:' .. device, 'auth') or '', '^%d\t(%l*)\t')
    return flags and string.find(flags, 'd', 1, true) ~= nil
  end

  -- named is what people call an attempt.
  local function named(id, n) return 'attempt ' .. (call('HGET', key(id), 'as' .. n) or n) end

  R.reachable, R.dial, R.hangUp, R.named = reachable, dial, hangUp, named

  -- counted: an attempt has been one, whatever became of it. Since the first one the time of an SMS goes by the schedule's limit.
  local function counted(id, d, schedule)
    if d.first then return end
    d.first = d.began or now
    d.limit = d.first + limitOf(schedule)
    call('HSET', key(id), 'first', d.first, 'limit', d.limit)
    if d.channel ~= 'sms' then return end
    d.expires = d.ttl and math.min(d.expires, d.limit) or d.limit
    call('HSET', key(id), 'expires', d.expires)
    lookBy(id, d, d.expires)
  end

  -- failed: no further attempt makes sense. A downlink that only was to wake its device up goes on waiting for it.
  local function failed(id, d, text)
    if d.channel == 'sms' then return finish(id, d.device, 'FAILED', text) end
    hangUp(id)
    call('HSET', key(id), 'sms', 'over')
    R.await(id, d.device, d.channel, false)
    tell(id, d.device, 'EXECUTING', 'not woken up: ' .. text)
  end

  -- rest has the next attempt wait for its time.
  local function rest(id, d, state, schedule)
    call('HSET', key(id), 'sms', state, 'loose', (state == 'accepted' or state == 'unknown') and d.tries or 0)
    dial(id, d.device, nextAt(d.first, schedule) or d.limit)
  end

  -- firstSMS has the first attempt made now; where a device that is connected may take the downlink over MQTT it gets a second for that.
  function firstSMS(id, device, channel)
    call('HSET', key(id), 'sms', 'due')
    dial(id, device, now + ((channel == 'mqtt' or channel == 'any') and 1000 or 0))
  end

  -- reached: the SMS is on the device.
  local function reached(id, d, which, text, wait)
    text = which .. text
    hangUp(id)
    if d.channel == 'sms' and d.ack then
      call('HSET', key(id), 'sms', 'taken', 'taken', 1, 'lease', now + wait, 'took', which)
      at(id, d.device, now + wait)
      return tell(id, d.device, 'EXECUTING', text .. '; it waits for the device to acknowledge')
    end
    call('HSET', key(id), 'sms', d.channel == 'sms' and 'over' or 'heard')
    if d.channel == 'sms' then return finish(id, d.device, 'SUCCEEDED', text) end
    say(id, d.device, 'EXECUTING', 'the SMS that wakes it up was delivered: ' .. text)
  end

  -- received holds the receipts of an attempt against its parts: they may have come before the gateway's answer.
  local function received(id, attempt, wait)
    local d = read(id)
    if not d or d.state ~= 'EXECUTING' or not d.sms or settled[d.sms] then return end
    local parts = tonumber(call('HGET', key(id), 'parts' .. attempt) or '')
    if not parts then return end
    local arrived = 0
    for i = 1, parts do
      local state, class = string.match(call('HGET', key(id), 'r' .. attempt .. '.' .. i) or '', '^(%u*) ?(%l*)$')
      local text = named(id, attempt) .. ' by SMS: its receipt says ' .. string.lower(state or '')
      if class == 'permanent' then return failed(id, d, text) end
      if class == 'temporary' and attempt == d.tries and (d.sms == 'accepted' or d.sms == 'unknown') then
        call('HSET', key(id), 'sms', 'undelivered', 'loose', 0)
        return say(id, d.device, 'EXECUTING', text)
      end
      if state == 'DELIVERED' then arrived = arrived + 1 end
    end
    if arrived == parts then reached(id, d, named(id, attempt), ' by SMS was delivered, says its receipt', wait) end
  end

  -- lapse: the claim of an attempt is over, and nobody has told what became of it: who began it is gone, or has no Redis.
  local function lapse(id, d, schedule)
    counted(id, d, schedule)
    local text = 'nobody knows what became of ' .. named(id, d.tries)
    d.sms = 'unknown'
    rest(id, d, d.sms, schedule)
    tellSMS(id, d.device, 'UNKNOWN', text)
    say(id, d.device, 'EXECUTING', text)
    d.cause = text
    at(id, d.device, d.lease or d.expires)
    received(id, d.tries, 0) -- what they say is more than nothing; that it arrived was heeded when it was said
  end

  -- lapsed does that in time, be the gateway there or not. Returns whether an attempt is awaited still.
  local function lapsed(id, d, schedule)
    if d.state ~= 'EXECUTING' or d.sms ~= 'submitting' then return false end
    if tonumber(call('HGET', key(id), 'by') or '0') > now then return true end
    lapse(id, d, schedule)
    return false
  end

  -- attemptOf is what begin gives.
  local function attemptOf(id, d, schedule)
    local first = d.first or now
    local following = nextAt(first, schedule) or first + limitOf(schedule)
    if d.channel == 'sms' and d.ttl then following = math.min(following, d.expires) end
    local v = call('HMGET', key(id), 'text', 'data', 'number')
    local kind, content = 'pack', d.pack
    if d.channel ~= 'sms' then
      kind, content = 'wake', ''
    elseif v[1] then
      kind, content = 'text', v[1]
    elseif v[2] then
      kind, content = 'data', v[2]
    end
    return {tostring(d.tries), v[3], kind, content, string.format('%.0f', following - now)}
  end

  -- begin starts an attempt for whoever has claimed it. Returns nothing if none is to be made now; else its number, the MSISDN, what
  -- to send (pack, text, data, or wake), that, and ms until the next attempt or the end. Asked again under the same lease it gives the same.
  function R.begin(id, lease, schedule)
    if not due.held(smsSet, id, lease) then return {} end
    local d = read(id)
    if not d or d.state ~= 'EXECUTING' or not d.sms or settled[d.sms] then
      hangUp(id)
      return {}
    end
    if d.sms == 'submitting' and call('HGET', key(id), 'by') == lease then -- its answer was lost
      if d.expires > now then return attemptOf(id, d, schedule) end
      R.outcome(id, d.tries, 'unsent', 'its time is over', false, 0, 0, schedule)
      expire(id, read(id))
      return {}
    end
    if d.sms == 'submitting' then
      lapse(id, d, schedule)
      return {}
    end
    if removed(d) then
      finish(id, d.device, 'CANCELLED', 'the device was removed')
      return {}
    end
    if d.expires <= now then
      expire(id, d)
      return {}
    end
    if d.limit and d.limit <= now then
      failed(id, d, 'the device was not reached by the schedule')
      return {}
    end
    if d.wake and d.lease then -- it is on its way to the device already
      dial(id, d.device, math.max(d.lease, now + 1000))
      return {}
    end
    local number, why = reachable(d.device)
    if not number then
      local text = why == 'barred' and 'its SIM cannot be reached by SMS' or why == 'numberless' and 'it has no MSISDN' or 'its registration cannot be read'
      failed(id, d, text)
      return {}
    end
    if d.sms == 'accepted' then -- its validity is over, and what became of it was not said: that is no reason to keep it a secret
      tellSMS(id, d.device, 'UNKNOWN', named(id, d.tries) .. ': no receipt says what became of it')
    end
    if disabled(d.device) then -- whatever it sends is refused, so nobody calls it; it may be enabled again
      local text = 'the device is disabled: no SMS is sent to it'
      call('HSET', key(id), 'sms', 'due')
      dial(id, d.device, now + 60000)
      if d.cause ~= text then tell(id, d.device, 'EXECUTING', text) end
      return {}
    end
    d.tries = d.tries + 1
    call('HSET', key(id), 'sms', 'submitting', 'tries', d.tries, 'as' .. d.tries, d.tries - d.none, 'began', now, 'by', lease, 'number', number)
    d.sms = 'submitting'
    lookBy(id, d, d.lease or d.expires) -- it is known then, or nobody knows
    if d.channel == 'sms' then call('HSET', key(id), 'via', 'sms', 'handed', now) end
    return attemptOf(id, d, schedule)
  end

  -- outcome tells what became of an attempt: accepted, and whether receipts will come · temporary or permanent, refused so · throttled or unsent,
  -- it was none, and the next is due after a pause · unknown. Told again, or too late, it changes nothing. Returns 0 then.
  function R.outcome(id, attempt, kind, text, receipts, pause, wait, schedule)
    local d = read(id)
    if not d or not d.sms or d.tries ~= attempt then return 0 end
    if d.sms ~= 'submitting' and not (d.sms == 'unknown' and kind ~= 'unknown' and kind ~= 'throttled' and kind ~= 'unsent') then
      if settled[d.sms] or d.state ~= 'EXECUTING' then -- the device came meanwhile, or it was cancelled: what happened is told all the same
        if call('HSETNX', key(id), 'told' .. attempt, kind) == 1 then
          tellSMS(id, d.device, string.upper(kind), named(id, attempt) .. ': ' .. text)
          if kind == 'throttled' or kind == 'unsent' then call('HINCRBY', key(id), 'none', 1) end -- once: it is noted as told
        end
      end
      return 0
    end
    if kind == 'throttled' or kind == 'unsent' then
      call('HSET', key(id), 'told' .. attempt, kind)
      call('HINCRBY', key(id), 'none', 1)
      call('HDEL', key(id), 'as' .. attempt)
      if d.state ~= 'EXECUTING' then return 1 end
      call('HSET', key(id), 'sms', 'due')
      dial(id, d.device, now + pause)
      at(id, d.device, d.lease or d.expires)
      if d.cause ~= text then
        tellSMS(id, d.device, string.upper(kind), text)
        say(id, d.device, 'EXECUTING', text)
      end
      return 1
    end
    call('HSET', key(id), 'told' .. attempt, kind)
    tellSMS(id, d.device, string.upper(kind), named(id, attempt) .. ': ' .. text)
    if d.state ~= 'EXECUTING' then
      call('HSET', key(id), 'sms', 'over')
      return 1
    end
    counted(id, d, schedule)
    at(id, d.device, d.lease or d.expires)
    local said = text
    text = named(id, attempt) .. ' by SMS: ' .. text
    if kind == 'permanent' then
      failed(id, d, text)
    elseif kind == 'accepted' and not receipts and d.channel == 'sms' then
      reached(id, d, named(id, attempt), ' by SMS: ' .. said .. '; its gateway gives no receipts', wait)
    else
      rest(id, d, kind == 'temporary' and 'refused' or kind, schedule)
      say(id, d.device, 'EXECUTING', text)
      if kind ~= 'temporary' then received(id, attempt, wait) end
    end
    return 1
  end

  -- receipt is what the SMSC says of a part of an attempt. class is '' while it is open, else whether a further attempt makes sense.
  -- Returns 0 if it was told before, or is of nothing.
  function R.receipt(id, attempt, part, parts, state, class, text, wait, schedule)
    local d = read(id)
    if not d or not d.sms or attempt > d.tries then return 0 end
    local field = 'r' .. attempt .. '.' .. part
    local before = string.match(call('HGET', key(id), field) or '', '^%u*')
    if before == state or before == 'DELIVERED' then return 0 end
    call('HSET', key(id), field, state .. ' ' .. class, 'parts' .. attempt, parts)
    local which = named(id, attempt)
    if parts > 1 then which = which .. ', part ' .. part .. ' of ' .. parts end
    tellSMS(id, d.device, state, which .. ': ' .. text)
    if d.state ~= 'EXECUTING' or settled[d.sms] then return 1 end
    if d.sms == 'submitting' then counted(id, d, schedule) end
    received(id, attempt, wait)
    return 1
  end

  -- met: the device has come by itself, or because it was woken up: no further attempt is made.
  function R.met(device, via)
    local id = call('GET', of('current', device))
    local d = id and read(id)
    if not d or not d.wake or d.state ~= 'EXECUTING' then return end
    R.await(id, device, d.channel, false)
    if d.sms == 'over' then return end
    hangUp(id)
    -- An attempt that is under way is awaited no longer; what becomes of it is noted.
    call('HSET', key(id), 'sms', 'over')
    tellSMS(id, device, 'WOKE', 'an uplink over ' .. via .. ' came' .. (d.tries > d.none and ' after ' .. d.tries - d.none .. ' by SMS' or ''))
  end
