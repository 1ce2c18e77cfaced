-- SETTLE | RELEASE | EXPIRE one reservation; a second call, or one after the state was lost, changes nothing.
-- KEYS   1 rates, 2 leases, 3 deadlines, 4 records
-- ARGV   1 mode (settle | release | expire), 2 reservation id, 3 actual input tokens, 4 actual output tokens,
--        5 actual nano-USD
--        expire settles at the reserved amounts, and only what is past its deadline
-- answer {1, now, charged tokens, charged nano} or {0, now} when there is nothing to settle
local now = now_ms()
local mode, rid = ARGV[1], ARGV[2]
local packed = redis.call('HGET', KEYS[4], rid)
if not packed then return {0, now} end
local record, spec = cmsgpack.unpack(packed)
local reserved = reserved_of(record)
if mode == 'expire' and record[4] > now then return {0, now} end

local actual = reserved
if mode == 'release' then
  actual = {0, 0, 0, 0, 0}
elseif mode == 'settle' then
  -- What was reserved is a ceiling for money: more is never charged. Tokens above it put the bucket into debt.
  local input, output = tonumber(ARGV[3]), tonumber(ARGV[4])
  actual = {reserved[1], input + output, math.min(tonumber(ARGV[5]), reserved[3]), input, output}
end

local buckets, concs = spec[1], spec[3]
local fields, back, write = {}, {}, {}
for i = 1, #spec[2] do
  local unit = buckets[3 * i - 2]
  if reserved[unit] ~= actual[unit] then
    fields[#fields + 1] = spec[2][i]
    back[#back + 1] = (reserved[unit] - actual[unit]) * buckets[3 * i]
  end
end
if #fields > 0 then
  -- What an earlier life reserved (a snapshot brought it back) was never taken from this life's buckets.
  local held = redis.call('HMGET', KEYS[1], '@', unpack(fields))
  local ours = held[1] and record[6] >= began(held[1])
  for i = 1, #fields do
    if ours and held[i + 1] then
      local level, at = unpack_state('>dd', held[i + 1])
      write[#write + 1] = fields[i]
      write[#write + 1] = pack_state('>dd', level + back[i], at)
    end
  end
  if #write > 0 then redis.call('HSET', KEYS[1], unpack(write)) end
end
for i = 1, #concs / 2 do
  redis.call('ZREM', KEYS[3] .. ':' .. concs[2 * i - 1], rid)
end
if reserved[3] > 0 then
  for i, l in ipairs(spec[4]) do
    local token = record[5][i]
    if token ~= '' and redis.call('HGET', KEYS[2], l .. '.k') == token then
      if actual[3] > 0 then redis.call('HINCRBY', KEYS[2], l .. '.u', actual[3]) end
      if reserved[3] > actual[3] then redis.call('HINCRBY', KEYS[2], l .. '.a', reserved[3] - actual[3]) end
    end
  end
end
redis.call('HDEL', KEYS[4], rid)
redis.call('ZREM', KEYS[3], rid)
return {1, now, actual[2], actual[3]}
