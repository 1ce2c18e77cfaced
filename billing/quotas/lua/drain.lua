-- DRAIN: take back what a lease has not promised to anybody; what is held or used stays.
-- KEYS   1 leases hash
-- ARGV   1 lease name, 2 epoch, 3 at most nano-USD
-- answer {1, now, taken} | {0, now} this life of the server does not hold that epoch
local now = now_ms()
local l = ARGV[1]
local held = redis.call('HMGET', KEYS[1], l .. '.k', l .. '.a')
if held[1] ~= ARGV[2] .. '@' .. BOOT then return {0, now} end
local taken = math.min(math.max(0, tonumber(held[2])), tonumber(ARGV[3]))
redis.call('HINCRBY', KEYS[1], l .. '.a', 0 - taken)
redis.call('HINCRBY', KEYS[1], l .. '.g', 0 - taken)
return {1, now, taken}
