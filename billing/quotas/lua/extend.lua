-- EXTEND: more tokens or money for a reservation that runs, a later deadline, or both; all or nothing.
-- KEYS   1 rates, 2 leases, 3 deadlines, 4 records
-- ARGV   1 reservation id, 2 life in ms from now, 3 more input tokens, 4 more output tokens, 5 more nano-USD,
--        6 fewer output tokens that will do (-1: all or nothing), 7 nano-USD of an output token
-- answer {1, now, output tokens} | {0, now, limit number, wait} denied, nothing written | {2, now} unknown reservation
local now = now_ms()
local rid = ARGV[1]
local packed = redis.call('HGET', KEYS[4], rid)
if not packed then return {2, now} end
local record, spec = cmsgpack.unpack(packed)
local input, output, nano = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- Told again after a loss (DECLARE): its money was held in another life, and no lease here carries more of it.
if nano > 0 and #spec[4] > 0 and record[6] == -1 then return {2, now} end
local deadline = math.max(record[4], now + tonumber(ARGV[2]))
local buckets, concs, leases = spec[1], spec[3], spec[4]
local nb, levels, life, money = #spec[2], {}, nil, {}

if nb > 0 then levels, life = levels_of(KEYS[1], spec[2], buckets, now) end
if nano > 0 then
  for i, l in ipairs(leases) do
    money[i] = redis.call('HMGET', KEYS[2], l .. '.k', l .. '.x', l .. '.a')
  end
end

-- Fewer output tokens, where all do not fit now: the call runs, and what it cannot have it does not write.
local least, price = tonumber(ARGV[6]), tonumber(ARGV[7])
if least >= 0 and output > least then
  local fit = output
  for i = 1, nb do
    local unit, level = buckets[3 * i - 2], floor(levels[i] / buckets[3 * i])
    if unit == 2 then fit = math.min(fit, level - input) elseif unit == 5 then fit = math.min(fit, level) end
  end
  for i = 1, price > 0 and #money or 0 do
    local left = tonumber(money[i][3]) or 0
    fit = math.min(fit, floor((left - nano + output * price) / price))
  end
  fit = math.max(least, fit)
  output, nano = fit, nano - (output - fit) * price
end
local more = {0, input + output, nano, input, output}

for i = 1, nb do
  local need = more[buckets[3 * i - 2]] * buckets[3 * i]
  local cap = buckets[3 * i - 1]
  if need > levels[i] and need > 0 then
    return {0, now, i, cap > 0 and ceil((need - levels[i]) / cap) or 0}
  end
  levels[i] = levels[i] - need
end
for i, held in ipairs(money) do
  -- A lease that was replaced since the reservation cannot carry its extension: the two must stay one sum.
  if not alive(held[1], held[2], now) or held[1] ~= record[5][i] then return {0, now, nb + #concs / 2 + i, -2} end
  if nano > tonumber(held[3]) then return {0, now, nb + #concs / 2 + i, -3} end
end

if nb > 0 then keep_levels(KEYS[1], spec[2], levels, life, now, spec[6]) end
for i = 1, #concs / 2 do
  local key = KEYS[3] .. ':' .. concs[2 * i - 1]
  redis.call('ZADD', key, deadline, rid)
  redis.call('PEXPIREAT', key, deadline + KEEP)
end
if more[3] > 0 then
  for _, l in ipairs(leases) do
    redis.call('HINCRBY', KEYS[2], l .. '.a', 0 - more[3])
  end
end
record[7], record[8] = (record[7] or record[2]) + input, (record[8] or 0) + output
record[2], record[3], record[4] = record[2] + more[2], record[3] + more[3], deadline
redis.call('HSET', KEYS[4], rid, cmsgpack.pack(record) .. cmsgpack.pack(spec))
redis.call('ZADD', KEYS[3], deadline, rid)
return {1, now, output}
