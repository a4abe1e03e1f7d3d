-- Stores a batch of uplinks of one partition, each once.
--
-- KEYS[1]  the uplinks stream
-- KEYS[2]  the lane's last batch, string "<seq> <reply>"
-- KEYS[3…] per uplink: the device's state, string of a head and tags:
--             1 24 stream id of the last stored uplink, blank for none
--            25 12 uplinks stored
--            37 12 repeats
--            49 12 heartbeats
--            61 13 receipt of the last accepted message, Unix ms
--            74  4 its via
--            78 10 for each of its latest uplinks that fix their time: the tag
--          (numbers have blanks before them, the id behind it)
--          in enforce mode after those, per uplink: the device's newest time
--          where there are downlinks after those, per uplink: what exists while
--          the device has one that a contact over HTTP may take, or that it is
--          to be woken up for
-- ARGV[1]  seq, the batch's number in its lane, growing
-- ARGV[2]  ms for which the lane's last batch is remembered
-- ARGV[3]  mode: off, observe, dedupe, enforce
-- ARGV[4]  bytes of tags to keep per device
-- ARGV[5]  tolerance in seconds, enforce only
-- ARGV[6]  length to trim the stream to, about; 0: not this time
-- ARGV[7]  prefix of the partition's keys, "" where there are no downlinks
-- ARGV[8]  ms for a downlink's attempt · 9 ms for which one is kept that has
--          ended · 10 attempts that one gets · 11 length of the events stream
-- ARGV[12] newest id of the stream that anybody was handed, as the node knows
-- ARGV[13] '' if downlinks go by this Redis' clock, else by the time of receipt
-- ARGV[14…] per uplink 10: device, via, at, token, pack, raw, unsigned, tag,
--          newest, id of the downlink that it acknowledges
--          (raw, unsigned: "" for none; tag: "" when the pack does not fix its
--          time; pack "" for a heartbeat, which stores nothing)
--
-- Returns "<prev> <answer>…": prev is the stream's last id before the batch,
-- an answer is the stream id, "+<id>" if stored although a repeat, "=" for a
-- repeat, "~" for a pack that is too old, "-" for a heartbeat. For each uplink
-- that takes a downlink along a line follows: its number, the downlink's id, the
-- attempt and the pack; or for one whose downlink's keys are damaged its number,
-- '-', '!' and what is wrong. A batch sent again gets the reply of the first time; one
-- that a later batch has overtaken gets "stale".
--
-- The rules of downlinks stand before this script.
local call, find, sub, format = redis.call, string.find, string.sub, string.format
local head, per = 13, 10
local stream, lane = KEYS[1], KEYS[2]
local seq, mode, keep = tonumber(ARGV[1]), ARGV[3], tonumber(ARGV[4])
local count = (#ARGV - head) / per
local tags = 78 -- where they begin
local full = tags + keep - 11 -- length of a state that has room for one more tag, no more
local fresh = format('%24s%12d%12d%12d%13d%4s', '', 0, 0, 0, 0, '')

local last = call('GET', lane)
if last then
  local space = find(last, ' ', 1, true)
  local lastSeq = tonumber(sub(last, 1, space - 1))
  if lastSeq == seq then return sub(last, space + 1) end
  if lastSeq > seq then return 'stale' end
end

-- Where the stream was lost, in a failover or a flush, and the clock is behind
-- what was handed on before that, new entries go on behind it all the same: whoever
-- has come that far would never look at smaller ids.
local place = '*' -- of the next entry

local function placeBehind(newest, last)
  if newest == last then return '*' end
  local ms, n = string.match(newest, '^(%d+)-(%d+)$')
  local lastMs, lastN = string.match(last, '^(%d+)-(%d+)$')
  ms, n, lastMs, lastN = tonumber(ms), tonumber(n), tonumber(lastMs), tonumber(lastN)
  if lastMs > ms or lastMs == ms and lastN >= n then return '*' end
  local time = call('TIME')
  if time[1] * 1000 + math.floor(time[2] / 1000) > ms then return '*' end
  return format('%.0f-%.0f', ms, n + 1)
end

local function put(...)
  if place ~= '*' then
    local id = redis.pcall('XADD', stream, place, ...)
    place = '*'
    if type(id) == 'string' then return id end -- else the stream is further, and only its newest entries are gone
  end
  return call('XADD', stream, '*', ...)
end

-- Written out for the common case: building a table of fields costs more than XADD itself.
local function add(a)
  local pack, raw, unsigned = ARGV[a + 5], ARGV[a + 6], ARGV[a + 7]
  if pack == '' then return '-' end
  if raw == '' and unsigned == '' then
    return put('device', ARGV[a + 1], 'via', ARGV[a + 2], 'at', ARGV[a + 3], 'token', ARGV[a + 4], 'pack', pack)
  end
  local more = {}
  if raw ~= '' then more = {'raw', raw} end
  if unsigned ~= '' then more[#more + 1] = 'unsigned'; more[#more + 1] = unsigned end
  return put('device', ARGV[a + 1], 'via', ARGV[a + 2], 'at', ARGV[a + 3], 'token', ARGV[a + 4], 'pack', pack, unpack(more))
end

-- The entry is added before its tag and time are noted: should Redis refuse
-- XADD, a repeat must not be taken for stored.

-- Receipt as a state has it: a clock that was never set tells fewer digits.
local function met(a)
  local at = ARGV[a + 3]
  if #at == 13 then return at end
  return format('%13s', at)
end

-- One that does not fix its time, or whose repeats do not matter.
local function always(i, a)
  local key = KEYS[2 + i]
  local seen = call('GET', key) or fresh
  local id = add(a)
  if id == '-' then
    call('SET', key, sub(seen, 1, 48) .. format('%12d', sub(seen, 49, 60) + 1) .. met(a) .. ARGV[a + 2] .. sub(seen, tags))
  else
    call('SET', key, format('%-24s%12d', id, sub(seen, 25, 36) + 1) .. sub(seen, 37, 60) .. met(a) .. ARGV[a + 2] .. sub(seen, tags))
  end
  return id
end

local function again(key, seen, a)
  local id, answer, uplinks = sub(seen, 1, 24), '=', sub(seen, 25, 36) + 0
  if mode == 'observe' then
    id = add(a)
    answer, uplinks = '+' .. id, uplinks + 1
  end
  call('SET', key, format('%-24s%12d%12d', id, uplinks, sub(seen, 37, 48) + 1) .. sub(seen, 49, 60) .. met(a) .. ARGV[a + 2] .. sub(seen, tags))
  return answer
end

local function once(i, a, tag)
  local key = KEYS[2 + i]
  local seen = call('GET', key) or fresh
  if find(seen, tag, tags, true) then return again(key, seen, a) end
  local newest, known
  if mode == 'enforce' then
    newest, known = ARGV[a + 9], call('GET', KEYS[2 + count + i])
    if known and tonumber(newest) < tonumber(known) - tonumber(ARGV[5]) then return '~' end
  end
  local id = add(a)
  local from, spare = tags, #seen - full
  if spare > 0 then from = tags + spare end
  call('SET', key, format('%-24s%12d', id, sub(seen, 25, 36) + 1) .. sub(seen, 37, 60) .. met(a) .. ARGV[a + 2] .. sub(seen, from) .. tag)
  if newest and (not known or tonumber(newest) > tonumber(known)) then call('SET', KEYS[2 + count + i], newest) end
  return id
end

local before = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local answers = {before and before[1] or '0-0'}
place = placeBehind(ARGV[12], answers[1])
for i = 1, count do
  local a = head + (i - 1) * per
  local tag = ARGV[a + 8]
  if tag == '' then answers[i + 1] = always(i, a) else answers[i + 1] = once(i, a, tag) end
end
if ARGV[6] ~= '0' then call('XTRIM', stream, 'MAXLEN', '~', ARGV[6]) end
local reply = table.concat(answers, ' ')

-- The rules, made where they are needed, once for all that have one clock.
local made, clock
local function rulesAt(text)
  if clock ~= text then made, clock = rules(ARGV[7], text, tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])), text end
  return made
end

-- A contact over HTTP takes along what waits for it; a repeat what the first one got, and never anything else.
local function take(i, waits)
  local a, answer = head + (i - 1) * per, answers[i + 1]
  local device, ack = ARGV[a + 1], ARGV[a + 10]
  local again, http = answer == '=' or sub(answer, 1, 1) == '+', ARGV[a + 2] == 'http'
  if again then ack = '' end -- what it acknowledges was told the first time
  local woke = waits and not again and sub(waits, -5) == ' wake'
  if answer == '~' or ack == '' and not woke and not (http and (waits or again)) then return end
  local R = rulesAt(ARGV[13] == '' and '' or ARGV[a + 3])
  if woke then R.met(device, ARGV[a + 2]) end
  if ack ~= '' then R.acknowledge(ack, device) end
  if not http then return end
  local got
  if again then got = R.again(device, ARGV[a + 4], tonumber(ARGV[8])) else got = R.hand(device, 'http', ARGV[a + 4], tonumber(ARGV[8])) end
  if got[1] then reply = reply .. '\n' .. i .. ' ' .. got[1] .. ' ' .. got[2] .. ' ' .. got[3] end
end

if ARGV[7] ~= '' then
  local waits = call('MGET', unpack(KEYS, #KEYS - count + 1, #KEYS))
  for i = 1, count do
    -- The batch is stored: nothing that is wrong with a downlink may have it sent again.
    local ok, err = pcall(take, i, waits[i])
    if not ok then
      if type(err) == 'table' then err = err.err end
      reply = reply .. '\n' .. i .. ' - ! ' .. string.gsub(tostring(err), '%c', ' ')
    end
  end
end
call('SET', lane, seq .. ' ' .. reply, 'PX', ARGV[2])
return reply
