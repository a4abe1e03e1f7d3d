-- One change of downlinks.
--
-- KEYS[1]  m2m:{p}:due:downlink; the others of the partition begin alike
-- ARGV[1]  now, Unix ms · 2 ms for which one is kept that has ended · 3 attempts that one gets · 4 which change
--          5… its arguments, as the rules have them
-- Returns  what the rule returns
local R = rules(string.sub(KEYS[1], 1, -13), tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))
local op, a, n = ARGV[4], ARGV, tonumber
if op == 'create' then
  return R.create(a[5], a[6], n(a[7]), a[8], n(a[9]), n(a[10]), n(a[11]), a[12], {unpack(a, 13)})
elseif op == 'hand' then
  return R.hand(a[5], a[6], a[7], n(a[8]))
elseif op == 'done' then
  return R.done(a[5], n(a[6]), a[7] == '1', a[8], n(a[9]))
elseif op == 'acknowledge' then
  return R.acknowledge(a[5], a[6])
elseif op == 'cancel' then
  return R.cancel(a[5], a[6])
elseif op == 'drop' then
  return R.drop(a[5])
end
for i = 5, #a do R.look(a[i]) end
return #a - 4
