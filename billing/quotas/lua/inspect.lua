-- INSPECT: what this server holds of one lease, and which reservations are past their deadline.
-- KEYS   1 leases hash, 2 deadlines zset, 3 records hash
-- ARGV   1 lease name ('' for none), 2 how many due reservations at most
-- answer {now, lease, due}: lease {} | {epoch, alive, granted, available, used, held, ends, block}
--        due {id, tokens, nano, reserved at, ...} flat, oldest first
local now = now_ms()
local lease, due = {}, {}
if ARGV[1] ~= '' then
  local l = ARGV[1]
  local v = redis.call('HMGET', KEYS[1], l .. '.k', l .. '.g', l .. '.a', l .. '.u', l .. '.x', l .. '.n')
  if v[1] then
    local granted, available, used = tonumber(v[2]), tonumber(v[3]), tonumber(v[4])
    lease = {tonumber(string.match(v[1], '^(%d+)@')), alive(v[1], v[5], now) and 1 or 0, granted, available, used,
      granted - available - used, tonumber(v[5]), tonumber(v[6])}
  end
end
local count = tonumber(ARGV[2])
if count > 0 then
  for _, rid in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, count)) do
    local packed = redis.call('HGET', KEYS[3], rid)
    if packed then
      local _, r = cmsgpack.unpack_one(packed)
      due[#due + 1] = rid
      due[#due + 1] = r[2]
      due[#due + 1] = r[3]
      due[#due + 1] = r[6]
    else
      redis.call('ZREM', KEYS[2], rid)
    end
  end
end
return {now, lease, due}
