-- RESERVE: check every limit, then write, or write nothing at all.
-- KEYS   1 rates hash, 2 leases hash, 3 deadlines zset, 4 records hash (one slot: all carry the tenant's hash tag)
-- ARGV   1 compiled limits (msgpack), 2 reservation id, 3 life in ms, 4 requests, 5 input tokens, 6 output tokens,
--        7 nano-USD, 8 fewer output tokens that will do (-1: all or nothing), 9 nano-USD of an output token
-- answer {1, now, low bits, output tokens, remaining...}       admitted, perhaps with fewer output tokens
--        {0, now, low bits, limit number, wait, remaining...}  denied, nothing written
--        {2, now, 0}                                           this id is already reserved: nothing written
--        {3, now, low bits, remaining...}                      an empty id only looks
-- low bits    2^(n-1): lease n runs low; 2^(19+n): it is at its soft cap, and the call counts as ten of requests
-- remaining   of money, what the month has left as far as this server was told; -1 where it was not
-- wait   ms until it can pass; -1 never (larger than the limit itself); -2 no lease; -3 lease too small
local now = now_ms()
local rid = ARGV[2]
if redis.call('HEXISTS', KEYS[4], rid) == 1 then return {2, now, 0} end

local spec = cmsgpack.unpack(ARGV[1])
local buckets, concs, leases = spec[1], spec[3], spec[4]
local input, output, nano = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local money = #leases > 0 and redis.call('HMGET', KEYS[2], unpack(spec[5])) or {}

-- 0. fewer output tokens where all could never pass: more than a limit itself, or than the month has left
local least, price = tonumber(ARGV[8]), tonumber(ARGV[9])
if least >= 0 and output > least then
  local fit = output
  for i = 1, #spec[2] do
    local unit, cap = buckets[3 * i - 2], buckets[3 * i - 1]
    if unit == 2 then fit = math.min(fit, cap - input) elseif unit == 5 then fit = math.min(fit, cap) end
  end
  for i = 1, price > 0 and #leases or 0 do
    if alive(money[5 * i - 4], money[5 * i - 3], now) then
      local left = tonumber(money[5 * i - 2]) + (tonumber(money[5 * i]) or 0)
      fit = math.min(fit, floor((left - nano + output * price) / price))
    end
  end
  fit = math.max(least, fit)
  output, nano = fit, nano - (output - fit) * price
end
local amounts = {tonumber(ARGV[4]), input + output, nano, input, output}
local remaining, blocked, blocked_wait, low = {}, 0, 0, 0

-- Which of two denials to name: a missing budget first, then what never passes, then the longest wait.
local function rank(wait)
  if wait <= -2 then return 1e17 - wait end
  if wait == -1 then return 1e16 end
  return wait
end
local function deny(number, wait)
  if blocked == 0 or rank(wait) > rank(blocked_wait) then blocked, blocked_wait = number, wait end
end

-- 0b. from the soft cap of a budget on a call counts as ten requests, or as many as the smallest rate ever carries
local slow, slowed = spec[7] or {}, 0
for i = 1, amounts[1] > 0 and #slow or 0 do
  local left = slow[i] >= 0 and alive(money[5 * i - 4], money[5 * i - 3], now) and tonumber(money[5 * i - 2])
  if left and left + (tonumber(money[5 * i]) or 0) <= slow[i] then slowed = slowed + 2 ^ (19 + i) end
end
if slowed > 0 then
  local times = @SLOWED@
  for i = 1, #spec[2] do
    if buckets[3 * i - 2] == 1 then times = math.min(times, floor(buckets[3 * i - 1] / amounts[1])) end
  end
  amounts[1] = amounts[1] * math.max(1, times)
end

-- 1. rates
local nb, levels, life = #spec[2], {}, nil
if nb > 0 then
  levels, life = levels_of(KEYS[1], spec[2], buckets, now)
  for i = 1, nb do
    local cap, window, level = buckets[3 * i - 1], buckets[3 * i], levels[i]
    local need = amounts[buckets[3 * i - 2]] * window
    if need > 0 and need > level then
      if need > cap * window then deny(i, -1) else deny(i, ceil((need - level) / cap)) end
    end
    levels[i] = level - need
    remaining[i] = level > 0 and floor(level / window) or 0
  end
end

-- 2. concurrency: members past their deadline no longer count, so a crash heals by itself; a life that has just begun
-- does not know yet what runs, and admits nothing
local nc = nb + #concs / 2
local unsure = #concs > 0 and began(life or this_life(now)) + HOLD - now or 0
for i = 1, #concs / 2 do
  local free = 0
  if unsure > 0 then
    deny(nb + i, unsure)
  else
    free = concs[2 * i] - redis.call('ZCOUNT', KEYS[3] .. ':' .. concs[2 * i - 1], '(' .. now, '+inf')
    if free < 1 then deny(nb + i, 0) end
  end
  remaining[nb + i] = math.max(0, free)
end

-- 3. budgets: no lease, a lease of another life of this server, or one of a past period, is closed
local tokens = {}
if #leases > 0 then
  for i = 1, #leases do
    local token, ends, avail, mark = money[5 * i - 4], money[5 * i - 3], money[5 * i - 2], money[5 * i - 1]
    if not alive(token, ends, now) then
      if amounts[3] > 0 then deny(nc + i, -2) end
      remaining[nc + i] = -1
      tokens[i] = ''
      low = low + 2 ^ (i - 1)
    else
      avail = tonumber(avail)
      if amounts[3] > avail then deny(nc + i, -3) end
      if avail - amounts[3] < tonumber(mark) then low = low + 2 ^ (i - 1) end
      remaining[nc + i] = avail + (tonumber(money[5 * i]) or 0)
      tokens[i] = token
    end
  end
end

low = low + slowed
if rid == '' then return {3, now, low, unpack(remaining)} end
if blocked > 0 then return {0, now, low, blocked, blocked_wait, unpack(remaining)} end

-- Everything passes: write.
local deadline = now + tonumber(ARGV[3])
if nb > 0 then
  for i = 1, nb do
    remaining[i] = levels[i] > 0 and floor(levels[i] / buckets[3 * i]) or 0
  end
  keep_levels(KEYS[1], spec[2], levels, life, now, spec[6])
end
for i = 1, #concs / 2 do
  local key = KEYS[3] .. ':' .. concs[2 * i - 1]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZADD', key, deadline, rid)
  redis.call('PEXPIREAT', key, deadline + KEEP)
  remaining[nb + i] = remaining[nb + i] - 1
end
for i, l in ipairs(leases) do
  if tokens[i] ~= '' and amounts[3] > 0 then
    redis.call('HINCRBY', KEYS[2], l .. '.a', 0 - amounts[3])
    remaining[nc + i] = remaining[nc + i] - amounts[3]
  end
end
redis.call('HSET', KEYS[4], rid, cmsgpack.pack({amounts[1], amounts[2], amounts[3], deadline, tokens, now, input, output}) .. ARGV[1])
redis.call('ZADD', KEYS[3], deadline, rid)
return {1, now, low, output, unpack(remaining)}
