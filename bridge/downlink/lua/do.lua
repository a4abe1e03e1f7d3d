-- One change of downlinks.
--
-- KEYS[1]  m2m:{p}:due:downlink; the others of the partition begin alike
-- ARGV[1]  the time, Unix ms, '' for that of this Redis · 2 ms for which one is kept that has ended · 3 attempts that one gets · 4 length of the events
--          stream · 5 which change · 6… its arguments, as the rules have them
-- Returns  what the rule returns, of look 1
local R = rules(string.sub(KEYS[1], 1, -13), ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
local op, a, n = ARGV[5], ARGV, tonumber
if op == 'create' then
  return R.create(a[6], a[7], n(a[8]), a[9], n(a[10]), n(a[11]), n(a[12]), a[13], a[14], a[15] == '1', {unpack(a, 16)})
elseif op == 'hand' then
  return R.hand(a[6], a[7], a[8], n(a[9]))
elseif op == 'done' then
  return R.done(a[6], n(a[7]), a[8] == '1', a[9], n(a[10]), a[8] == '-')
elseif op == 'acknowledge' then
  return R.acknowledge(a[6], a[7])
elseif op == 'cancel' then
  return R.cancel(a[6], a[7])
elseif op == 'begin' then
  return R.begin(a[6], a[7], a[8])
elseif op == 'outcome' then
  return R.outcome(a[6], n(a[7]), a[8], a[9], a[10] == '1', n(a[11]), n(a[12]), a[13])
elseif op == 'receipt' then
  return R.receipt(a[6], n(a[7]), n(a[8]), n(a[9]), a[10], a[11], a[12], n(a[13]), a[14])
elseif op == 'drop' then
  return R.drop(a[6])
end
R.lookAt(a[6], a[7], a[8])
return 1
