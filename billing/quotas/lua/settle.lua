-- SETTLE | RELEASE | EXPIRE one reservation; a second call, or one after the state was lost, changes nothing.
-- KEYS   1 rates, 2 leases, 3 deadlines, 4 records
-- ARGV   1 mode (settle | release | expire), 2 reservation id, 3 actual tokens, 4 actual nano-USD
--        expire settles at the reserved amounts, and only what is past its deadline
-- answer {1, now, charged tokens, charged nano} or {0, now} when there is nothing to settle
local now = now_ms()
local mode, rid = ARGV[1], ARGV[2]
local packed = redis.call('HGET', KEYS[4], rid)
if not packed then return {0, now} end
local record, spec = cmsgpack.unpack(packed)
local reserved = {record[1], record[2], record[3]}
if mode == 'expire' and record[4] > now then return {0, now} end

local actual = reserved
if mode == 'release' then
  actual = {0, 0, 0}
elseif mode == 'settle' then
  -- What was reserved is a ceiling for money: more is never charged. Tokens above it put the bucket into debt.
  actual = {reserved[1], tonumber(ARGV[3]), math.min(tonumber(ARGV[4]), reserved[3])}
end

if redis.call('EXISTS', KEYS[1]) == 1 then
  for i, b in ipairs(spec[1]) do
    local back = (reserved[b[1]] - actual[b[1]]) * b[3]
    if back ~= 0 then redis.call('HINCRBY', KEYS[1], spec[2][2 * i - 1], back) end
  end
end
for _, c in ipairs(spec[3]) do
  redis.call('ZREM', KEYS[3] .. ':' .. c[1], rid)
end
if reserved[3] > 0 then
  for i, l in ipairs(spec[4]) do
    local token = record[5][i]
    if token ~= '' and redis.call('HGET', KEYS[2], l .. '.k') == token then
      redis.call('HINCRBY', KEYS[2], l .. '.h', 0 - reserved[3])
      redis.call('HINCRBY', KEYS[2], l .. '.u', actual[3])
      redis.call('HINCRBY', KEYS[2], l .. '.a', reserved[3] - actual[3])
    end
  end
end
redis.call('HDEL', KEYS[4], rid)
redis.call('ZREM', KEYS[3], rid)
return {1, now, actual[2], actual[3]}
