-- GRANT: put one block, already debited in Postgres, into this server. Sent at most once per block, never retried.
-- KEYS   1 leases hash
-- ARGV   1 lease name, 2 epoch, 3 block number within the epoch (1 opens it), 4 amount nano-USD, 5 end ms of the lease as
--        a whole (its month's, or that of the credit behind it, which each block may move), 6 low mark,
--        7 nano-USD the month has left beyond this block
-- answer {1, now, available} taken | {0, now} refused: this life of the server does not know the epoch, or knows a newer
local now = now_ms()
local l, epoch, block = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local held = redis.call('HMGET', KEYS[1], l .. '.k', l .. '.n', l .. '.x')
local token = epoch .. '@' .. BOOT
local known = -1
if held[1] then known = tonumber(string.match(held[1], '^(%d+)@')) end
if block == 1 then
  if known >= epoch then return {0, now} end
  redis.call('HSET', KEYS[1], l .. '.k', token, l .. '.n', 1, l .. '.x', ARGV[5], l .. '.w', ARGV[6],
    l .. '.g', ARGV[4], l .. '.a', ARGV[4], l .. '.u', 0, l .. '.r', ARGV[7])
  return {1, now, tonumber(ARGV[4])}
end
if held[1] ~= token or not alive(held[1], held[3], now) or tonumber(held[2]) >= block then return {0, now} end
redis.call('HSET', KEYS[1], l .. '.n', block, l .. '.x', ARGV[5], l .. '.w', ARGV[6], l .. '.r', ARGV[7])
redis.call('HINCRBY', KEYS[1], l .. '.g', ARGV[4])
return {1, now, redis.call('HINCRBY', KEYS[1], l .. '.a', ARGV[4])}
