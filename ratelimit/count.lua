-- Count the places that are taken under each limit, and what was spent under each cap today. Changes nothing.
--
-- KEYS[1..n]    one sorted set per limit
-- KEYS[n+1..]   one hash per cap: see reserve.lua
-- ARGV[1]       n, the number of limits
-- ARGV[2..]     max and per_ms of each limit
--
-- Returns {for each limit: its places, and the ms at which one becomes free (0: there is one) ...,
-- for each cap: the day's total ...}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local limits = tonumber(ARGV[1])
local found = {}
for i = 1, limits do
  local max, per = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local since = '(' .. string.format('%.0f', now - per)
  local count = redis.call('ZCOUNT', KEYS[i], since, '+inf')
  local free_at = 0
  if count >= max then
    local leaver = redis.call('ZRANGE', KEYS[i], since, '+inf', 'BYSCORE', 'LIMIT', count - max, 1, 'WITHSCORES')
    free_at = tonumber(leaver[2]) + per
  end
  found[#found + 1] = count
  found[#found + 1] = free_at
end
for i = limits + 1, #KEYS do
  local stored = redis.call('HMGET', KEYS[i], 'day', 'total')
  local is_today = tonumber(stored[1]) == math.floor(now / 86400000)
  found[#found + 1] = is_today and tonumber(stored[2]) or 0
end
return found
