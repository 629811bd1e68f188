-- Reserve one place for a member under every limit, or under none of them.
--
-- Invariant: under each limit at most `max` members have a place whose time is within the last `per_ms`.
-- A member has one place, with the time of its last reservation, however many times it reserves.
-- A denial stores nothing. Times are the store's, so that workers' clocks do not matter.
--
-- KEYS[1]       the time in ms since which the counts are complete; 0: always; absent: the store was flushed
-- KEYS[2..n]    one sorted set per limit: member -> ms of its last reservation
-- ARGV[1]       the member (a delivery)
-- ARGV[2]       '1': admit by what was counted since the flush, even if the counts are incomplete
-- ARGV[3..]     max and per_ms of each limit, in the order of its key
--
-- Returns {admitted, incomplete, free_at_ms, position of each limit that denied ...}. `incomplete`: the
-- result depends on counts that were lost. A limit already full by the counts since the flush always denies.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local since = tonumber(redis.call('GET', KEYS[1]))
if not since then
  since = now
  redis.call('SET', KEYS[1], since)
end

local member = ARGV[1]
local full, full_until = {}, 0
local unsure, unsure_until = {}, 0

for i = 2, #KEYS do
  local max = tonumber(ARGV[2 * i - 1])
  local per = tonumber(ARGV[2 * i])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - per)
  if not redis.call('ZSCORE', KEYS[i], member) then
    local count = redis.call('ZCARD', KEYS[i])
    if count >= max then
      full[#full + 1] = i - 1
      -- After `max` was lowered, more than one member has to leave first.
      local leaver = redis.call('ZRANGE', KEYS[i], count - max, count - max, 'WITHSCORES')
      full_until = math.max(full_until, tonumber(leaver[2]) + per)
    elseif since > 0 and now - since < per then
      unsure[#unsure + 1] = i - 1
      unsure_until = math.max(unsure_until, since + per)
    end
  end
end

if #full > 0 then
  return {0, 0, full_until, unpack(full)}
end
if #unsure > 0 and ARGV[2] ~= '1' then
  return {0, 1, unsure_until, unpack(unsure)}
end
-- Refresh a member that already has a place: the window counts from the send that follows.
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], now, member)
  redis.call('PEXPIRE', KEYS[i], ARGV[2 * i])
end
return {1, #unsure > 0 and 1 or 0, 0}
