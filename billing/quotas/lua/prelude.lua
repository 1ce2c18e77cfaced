-- Shared by all scripts. Numbers are exact up to 2^53, and redis.call writes them as plain digits (but -0 as '-0':
-- negate with 0 - n). Amounts are {requests, tokens, nano, input tokens, output tokens}, tokens being the sum of the last
-- two. A reservation's record is {requests, tokens, nano, deadline, lease tokens, reserved at, input tokens, output
-- tokens} in msgpack, followed by the compiled limits it was made with. The last two were appended: records of before
-- have none (their limits count neither), and the scripts of before skip them.
-- BOOT is the run id of the very server process this text was loaded into: a restarted or
-- failed-over server has another one, so a lease that came back from an old snapshot is recognised and closed.
local BOOT = '@BOOT@'
-- For so long a new life admits no call under a limit of calls at once: by then all processes have told what they run.
local HOLD = @HOLD@
-- A set of running calls stays so long after the deadline that was written last: earlier calls may have later ones.
local KEEP = 300000
local floor, ceil, pack_state, unpack_state = math.floor, math.ceil, struct.pack, struct.unpack

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + floor(t[2] / 1000)
end

-- A life of a server begins with its first call after it started or lost its data. What was admitted before is not known
-- to it: a bucket that is not there was empty when the life began, and one that another life wrote is not believed. A life
-- is written 'ms@BOOT'; where nothing was ever admitted it began at 0, and every bucket is full (`QuotaStore.begin`).
local LIFE = 'q:life'
local function in_this_life(life)
  return life and string.sub(life, -#BOOT) == BOOT
end
local function this_life(now)
  local life = redis.call('GET', LIFE)
  if in_this_life(life) then return life end
  life = string.format('%d', now) .. '@' .. BOOT
  redis.call('SET', LIFE, life)
  return life
end
local function began(life)
  return tonumber(string.match(life, '^%d+'))
end

-- Level of a bucket now, in units of amount x window ms, so that refilling by the ms is exact integer arithmetic.
-- A bucket is kept as two doubles, {level, ms of that level}.
local function refilled(level, at, cap, window, now)
  local max = cap * window
  if max == 0 then return 0 end
  local elapsed = now - at
  if elapsed < 0 then elapsed = 0 end
  if elapsed >= ceil((max - level) / cap) then return max end
  return level + elapsed * cap
end

-- Levels of all of a tenant's buckets, and the life to be written beside them.
local function levels_of(key, names, buckets, now)
  local held = redis.call('HMGET', key, '@', unpack(names))
  local life, levels = held[1], {}
  local known = in_this_life(life)
  if not known then life = this_life(now) end
  for i = 1, #names do
    local level, at = 0, nil
    if known and held[i + 1] then
      level, at = unpack_state('>dd', held[i + 1])
    else
      at = began(life)
    end
    levels[i] = refilled(level, at, buckets[3 * i - 1], buckets[3 * i], now)
  end
  return levels, life
end

local function keep_levels(key, names, levels, life, now, ttl)
  local write = {'@', life}
  for i = 1, #names do
    write[2 * i + 1], write[2 * i + 2] = names[i], pack_state('>dd', levels[i], now)
  end
  redis.call('HSET', key, unpack(write))
  redis.call('PEXPIRE', key, ttl)
end

-- The amounts in a record; one from before input and output were told apart has all its tokens as input.
local function reserved_of(record)
  return {record[1], record[2], record[3], record[7] or record[2], record[8] or 0}
end

-- A lease is the fields k token (epoch@boot), n last block, x end, w low mark, g granted, a available, u used, and r what
-- the month has left beyond it (told with each block, only shown); what is held is g - a - u. It counts only in the server
-- life that received it and before its period ends.
local function alive(token, ends, now)
  return token and ends and string.sub(token, -#BOOT) == BOOT and now < tonumber(ends)
end

