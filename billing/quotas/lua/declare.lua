-- DECLARE: calls that run, told to a server that may have forgotten them: from now on they count as calls at once again.
-- Their rates and their money were counted in another life and are not counted here. Without calls: which life this is.
-- KEYS   1 deadlines, 2 records, both of one tenant; or none
-- ARGV   1 life in ms; then of each call: reservation id, compiled limits
-- answer {now, life, reservation id...} those that were not known
local now = now_ms()
local answer = {now, this_life(now)}
local deadline = now + tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
  local rid, record, spec = ARGV[i], nil, nil
  local packed = redis.call('HGET', KEYS[2], rid)
  if packed then
    record, spec = cmsgpack.unpack(packed)
  else
    -- reserved before any life: its end gives this life's buckets nothing and takes nothing from them
    record, spec = {0, 0, 0, 0, {}, -1, 0, 0}, cmsgpack.unpack(ARGV[i + 1])
    answer[#answer + 1] = rid
  end
  if record[4] <= now then -- not known, or known from an old copy, before it was extended
    record[4] = deadline
    for j = 1, #spec[3] / 2 do
      local key = KEYS[1] .. ':' .. spec[3][2 * j - 1]
      redis.call('ZADD', key, deadline, rid)
      redis.call('PEXPIREAT', key, deadline + KEEP)
    end
    redis.call('HSET', KEYS[2], rid, cmsgpack.pack(record) .. cmsgpack.pack(spec))
    redis.call('ZADD', KEYS[1], deadline, rid)
  end
end
return answer
