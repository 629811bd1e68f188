-- Free a member's places after its delivery ended without a send, and take back the charge of a send that was not
-- made.
--
-- Invariant: only this member's places and this charge are freed, and freeing twice has the same effect as freeing
-- once. A charge of an earlier day stays: its day is over.
--
-- KEYS[1..n]    one sorted set per limit
-- KEYS[n+1..]   one hash per cap: see reserve.lua
-- ARGV[1]       the member (a delivery)
-- ARGV[2]       n, the number of limits
-- ARGV[3]       the charge (a send of the delivery)
local clock = redis.call('TIME')
local today = math.floor(clock[1] / 86400)
local limits = tonumber(ARGV[2])
local freed = 0
for i = 1, limits do
  freed = freed + redis.call('ZREM', KEYS[i], ARGV[1])
end
for i = limits + 1, #KEYS do
  local stored = redis.call('HMGET', KEYS[i], 'day', 'total', ARGV[3])
  if stored[3] and tonumber(stored[1]) == today then
    redis.call('HDEL', KEYS[i], ARGV[3])
    redis.call('HSET', KEYS[i], 'total', string.format('%.0f', tonumber(stored[2]) - tonumber(stored[3])))
    freed = freed + 1
  end
end
return freed
