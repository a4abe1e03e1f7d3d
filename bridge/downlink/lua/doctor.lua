-- Finds what the rules cannot have made, and mends it.
--
-- KEYS[1]  m2m:{p}:due:downlink; the others of the partition begin alike
-- ARGV[1…4] as do.lua has them · 5 "1" to mend · 6… in turn: of what kind, and its name: "downlink" an id · "device" a device ·
--          "once" a whole key · "steps" the id whose they are
-- Returns  in turn: the kind, the name, and in words what is wrong with it
--
-- What is wrong with the time is mended by looking now.
local P, keep = string.sub(KEYS[1], 1, -13), tonumber(ARGV[2])
local R = rules(P, ARGV[1], keep, tonumber(ARGV[3]), tonumber(ARGV[4]))
local now = R.now
local call, due, list, key, of = redis.call, KEYS[1], P .. 'downlink:all', R.key, R.of
local faults = {}
local kind, name

-- wrong notes a fault; it is to be mended if it returns true.
local function wrong(what)
  for _, word in ipairs({kind, name, what}) do faults[#faults + 1] = word end
  return ARGV[5] == '1'
end

local function member(set, id, score, what)
  local has = call('ZSCORE', set, id)
  if score and not has and wrong('it is not in ' .. what) then call('ZADD', set, score, id) end
  if not score and has and wrong('it is in ' .. what) then call('ZREM', set, id) end
end

-- latest is when a downlink is to be looked at, at the latest.
local function latest(id, d)
  if not d.open then return d.since + keep end
  local by = d.sms == 'submitting' and math.ceil(tonumber(call('HGET', key(id), 'by') or '0')) or math.huge
  if d.sms == 'submitting' and d.channel == 'sms' then return by end
  if d.lease then return math.min(by, d.lease) end
  if d.state == 'QUEUED' and not call('ZSCORE', of('queue', d.device), id) then return math.min(d.notbefore, d.expires) end
  return math.min(by, d.expires)
end

local function executing(id, d)
  local current = call('GET', of('current', d.device))
  if current == id then return end
  local c = current and R.read(current)
  if c and c.state == 'EXECUTING' and c.device == d.device then
    if wrong('it is EXECUTING beside ' .. current) then 
      call('HDEL', key(id), 'sms')
      R.hangUp(id)
      R.tell(id, d.device, 'QUEUED', 'mended: another one was EXECUTING beside it')
    end
  elseif wrong('it is EXECUTING, and not current') then
    call('SET', of('current', d.device), id)
    R.await(id, d.device, d.channel, d.wake and d.sms ~= 'over')
  end
end

local function downlink(id)
  local d = R.read(id)
  if not d then
    local what = call('EXISTS', key(id)) == 1 and 'it is damaged' or 'it is a member without data'
    if wrong(what) then R.forget(id) end
    return
  end
  member(list, id, 0, 'the list of all')
  member(of('all', d.device), id, 0, "its device's list")
  member(of('open', d.device), id, d.open and d.order, "its device's list of open ones")
  if d.state ~= 'QUEUED' then member(of('queue', d.device), id, d.open and d.order, 'the queue') end
  if d.state == 'EXECUTING' then executing(id, d) end
  local at = tonumber(call('ZSCORE', due, id) or '')
  if at and call('HGET', due .. ':data', id) ~= d.device and wrong('its data in due:downlink is another') then R.at(id, d.device, at) end
  if not at and wrong('it is not in due:downlink') then R.at(id, d.device, now) end
  local tried = call('ZSCORE', P .. 'due:sms', id)
  local awaits = d.state == 'EXECUTING' and d.sms and not R.settled[d.sms]
  if awaits and not tried and wrong('it is not in due:sms') then R.dial(id, d.device, now) end
  if tried and not awaits and wrong('it is in due:sms') then R.hangUp(id) end
  if at and at > latest(id, d) and wrong('it is due later than it must') then R.at(id, d.device, now) end
end

-- strangers are members of a device's set that are none of its downlinks.
local function strangers(device, set)
  for _, id in ipairs(call('ZRANGE', of(set, device), 0, -1)) do
    local d = R.read(id)
    if (not d or d.device ~= device) and wrong(id .. ' in ' .. set .. ' is none of its downlinks') then call('ZREM', of(set, device), id) end
  end
end

local function device(id)
  strangers(id, 'all')
  strangers(id, 'open')
  strangers(id, 'queue')
  local current = call('GET', of('current', id))
  local c = current and R.read(current)
  if current and not (c and c.device == id and c.state == 'EXECUTING') then
    if wrong('current is ' .. current .. ', which is not EXECUTING') then call('DEL', of('current', id)) end
    current, c = nil, nil
  end
  local contact = call('GET', of('contact', id)) or nil
  local wake = c and c.wake and c.sms ~= 'over'
  local want = c and (wake and current .. ' wake' or (c.channel == 'http' or c.channel == 'any') and current) or nil
  if contact ~= want and wrong('contact is not as current') then
    if want then R.await(current, id, c.channel, wake) else call('DEL', of('contact', id)) end
  end
  if not current and call('ZCARD', of('queue', id)) > 0 and wrong('its queue waits, and none is EXECUTING') then R.advance(id) end
  local last = call('GET', of('last', id))
  if last and call('EXISTS', key(string.match(last, '[^ ]*$'))) == 0 and wrong('last is of no downlink') then call('DEL', of('last', id)) end
end

local function steps(id)
  if call('EXISTS', key(id)) == 0 and wrong('they are of no downlink') then call('DEL', P .. 'downlink:steps:' .. id) end
end

local function once(whole)
  local id = call('GET', whole)
  if id and call('HGET', key(id), 'once') ~= whole and wrong('it is of no downlink') then call('DEL', whole) end
end

local inspect = {downlink = downlink, device = device, once = once, steps = steps}
for i = 6, #ARGV, 2 do
  kind, name = ARGV[i], ARGV[i + 1]
  inspect[kind](name)
end
return faults
