-- Stores a batch of uplinks of one partition, each once.
--
-- KEYS[1]  the uplinks stream
-- KEYS[2]  the lane's last batch, string "<seq> <reply>"
-- KEYS[3…] per uplink: the device's state, string of a head and tags:
--             1 12 uplinks stored
--            13 13 receipt of the last accepted message, Unix ms
--            26  4 its via
--            30 24 stream id of the last stored uplink, blank for none
--            54 12 repeats
--            66 12 heartbeats
--            78 10 for each of its latest uplinks that fix their time: the tag
--          (numbers have blanks before them, texts behind them)
--          in enforce mode after those, per uplink: the device's newest time
-- ARGV[1]  seq, the batch's number in its lane, growing
-- ARGV[2]  ms for which the lane's last batch is remembered
-- ARGV[3]  mode: off, observe, dedupe, enforce
-- ARGV[4]  bytes of tags to keep per device, negative
-- ARGV[5]  tolerance in seconds, enforce only
-- ARGV[6]  length to trim the stream to, about; 0: not this time
-- ARGV[7…] per uplink 9: device, via, at, token, pack, raw, unsigned, tag, newest
--          (raw, unsigned: "" for none; tag: "" when the pack does not fix its
--          time; pack "" for a heartbeat, which stores nothing)
--
-- Returns "<prev> <answer>…": prev is the stream's last id before the batch,
-- an answer is the stream id, "+<id>" if stored although a repeat, "=" for a
-- repeat, "~" for a pack that is too old, "-" for a heartbeat. A batch sent
-- again gets the reply of the first time; one that a later batch has
-- overtaken gets "stale".
local call, find, sub, format = redis.call, string.find, string.sub, string.format
local head, per = 6, 9
local stream, lane = KEYS[1], KEYS[2]
local seq, mode, keep = tonumber(ARGV[1]), ARGV[3], tonumber(ARGV[4])
local count = (#ARGV - head) / per
local tags = 78 -- where they begin
local fresh = format('%12d%13d%28s%12d%12d', 0, 0, '', 0, 0)

local last = call('GET', lane)
if last then
  local space = find(last, ' ', 1, true)
  local lastSeq = tonumber(sub(last, 1, space - 1))
  if lastSeq == seq then return sub(last, space + 1) end
  if lastSeq > seq then return 'stale' end
end

-- Written out for the common case: building a table of fields costs more than XADD itself.
local function add(a)
  local pack, raw, unsigned = ARGV[a + 5], ARGV[a + 6], ARGV[a + 7]
  if pack == '' then return '-' end
  if raw == '' and unsigned == '' then
    return call('XADD', stream, '*', 'device', ARGV[a + 1], 'via', ARGV[a + 2], 'at', ARGV[a + 3], 'token', ARGV[a + 4], 'pack', pack)
  end
  local more = {}
  if raw ~= '' then more = {'raw', raw} end
  if unsigned ~= '' then more[#more + 1] = 'unsigned'; more[#more + 1] = unsigned end
  return call('XADD', stream, '*', 'device', ARGV[a + 1], 'via', ARGV[a + 2], 'at', ARGV[a + 3], 'token', ARGV[a + 4], 'pack', pack, unpack(more))
end

-- The entry is added before its tag and time are noted: should Redis refuse
-- XADD, a repeat must not be taken for stored.

-- What the head says of an uplink that was stored as id, up to the repeats.
local function stored(seen, a, id)
  return format('%12d%13s%-4s%-24s', sub(seen, 1, 12) + 1, ARGV[a + 3], ARGV[a + 2], id)
end

-- The state after one more message that stored nothing, counted at from.
local function met(seen, a, from)
  return sub(seen, 1, 12) .. format('%13s%-4s', ARGV[a + 3], ARGV[a + 2]) .. sub(seen, 30, from - 1)
    .. format('%12d', sub(seen, from, from + 11) + 1) .. sub(seen, from + 12)
end

-- One that does not fix its time, or whose repeats do not matter.
local function always(i, a)
  local key = KEYS[2 + i]
  local seen = call('GET', key) or fresh
  local id = add(a)
  if id == '-' then call('SET', key, met(seen, a, 66)) else call('SET', key, stored(seen, a, id) .. sub(seen, 54)) end
  return id
end

local function again(key, seen, a)
  if mode ~= 'observe' then
    call('SET', key, met(seen, a, 54))
    return '='
  end
  local id = add(a)
  call('SET', key, stored(seen, a, id) .. format('%12d', sub(seen, 54, 65) + 1) .. sub(seen, 66))
  return '+' .. id
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
  call('SET', key, stored(seen, a, id) .. sub(seen, 54, tags - 1) .. sub(sub(seen, tags) .. tag, keep))
  if newest and (not known or tonumber(newest) > tonumber(known)) then call('SET', KEYS[2 + count + i], newest) end
  return id
end

local before = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local answers = {before and before[1] or '0-0'}
for i = 1, count do
  local a = head + (i - 1) * per
  local tag = ARGV[a + 8]
  if tag == '' then answers[i + 1] = always(i, a) else answers[i + 1] = once(i, a, tag) end
end
if ARGV[6] ~= '0' then call('XTRIM', stream, 'MAXLEN', '~', ARGV[6]) end
local reply = table.concat(answers, ' ')
call('SET', lane, seq .. ' ' .. reply, 'PX', ARGV[2])
return reply
