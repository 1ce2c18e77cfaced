-- Shared by all scripts. Numbers are exact up to 2^53, and redis.call writes them as plain digits (but -0 as '-0':
-- negate with 0 - n). Amounts are {requests, tokens, nano, input tokens, output tokens}, tokens being the sum of the last
-- two. A reservation's record is {requests, tokens, nano, deadline, lease tokens, reserved at, input tokens, output
-- tokens} in msgpack, followed by the compiled limits it was made with. The last two were appended: records of before
-- have none (their limits count neither), and the scripts of before skip them.
-- BOOT is the run id of the very server process this text was loaded into: a restarted or
-- failed-over server has another one, so a lease that came back from an old snapshot is recognised and closed.
local BOOT = '@BOOT@'
local floor, ceil, pack_state, unpack_state = math.floor, math.ceil, struct.pack, struct.unpack

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + floor(t[2] / 1000)
end

-- Level of a bucket now, in units of amount x window ms, so that refilling by the ms is exact integer arithmetic.
-- A bucket is kept as two doubles, {level, ms of that level}; one that is not there is full.
local function refilled(state, cap, window, now)
  local max = cap * window
  if max == 0 then return 0 end
  if not state then return max end
  local level, at = unpack_state('>dd', state)
  local elapsed = now - at
  if elapsed < 0 then elapsed = 0 end
  if elapsed >= ceil((max - level) / cap) then return max end
  return level + elapsed * cap
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

