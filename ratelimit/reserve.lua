-- Reserve one place for a member under every limit, and its charge under every spend cap; or none of them.
--
-- Invariants: under each limit at most `max` members have a place whose time is within the last `per_ms`. Under
-- each cap the charges of a day (UTC) sum up to at most `max`. A member has one place, with the time of its last
-- reservation, and a charge is counted once, at its last amount, however many times it is reserved.
-- A denial stores nothing, except that a cap's alert was given. Times are the store's, so that workers' clocks do
-- not matter.
--
-- KEYS[1]          the time in ms since which the counts are complete; 0: always; absent: the store was flushed
-- KEYS[2..n+1]     one sorted set per limit: member -> ms of its last reservation
-- KEYS[n+2..]      one hash per cap: `day`, `total`, `alerted` (the highest level), and charge -> its amount
-- ARGV[1]          the member (a delivery)
-- ARGV[2]          '1': admit by what was counted since the flush, even if the counts are incomplete
-- ARGV[3]          n, the number of limits
-- ARGV[4]          the charge (a send of the delivery)
-- ARGV[5..]        max and per_ms of each limit, then max and amount of each cap, in the order of their keys
--
-- Returns {admitted, incomplete, free_at_ms, {position of each key after the first that denied ...},
-- {total of each cap ...}, {position of a cap, level in % that it has reached for the first time today ...}}.
-- `incomplete`: the result depends on counts that were lost. A limit already full by the counts since the flush
-- always denies. After a flush, a cap counts the day from zero.
local DAY_MS = 86400000
local LEVELS = {50, 80, 100}

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local today = math.floor(now / DAY_MS)

local since = tonumber(redis.call('GET', KEYS[1]))
if not since then
  since = now
  redis.call('SET', KEYS[1], since)
end

local member, limits, charge = ARGV[1], tonumber(ARGV[3]), ARGV[4]
local full, full_until = {}, 0
local unsure, unsure_until = {}, 0
local totals, caps, alerts = {}, {}, {}

local function begin_day(cap)
  if not cap.current then
    redis.call('UNLINK', cap.key)
    redis.call('HSET', cap.key, 'day', today)
    redis.call('PEXPIREAT', cap.key, (today + 1) * DAY_MS + 3600000)
    cap.current = true
  end
end

local function alert_at(cap, total)
  for _, level in ipairs(LEVELS) do
    if level > cap.alerted and total * 100 >= cap.max * level then
      begin_day(cap)
      redis.call('HSET', cap.key, 'alerted', level)
      alerts[#alerts + 1] = cap.position
      alerts[#alerts + 1] = level
    end
  end
end

for i = 1, limits do
  local key = KEYS[i + 1]
  local max = tonumber(ARGV[2 * i + 3])
  local per = tonumber(ARGV[2 * i + 4])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - per)
  if not redis.call('ZSCORE', key, member) then
    local count = redis.call('ZCARD', key)
    if count >= max then
      full[#full + 1] = i
      -- After `max` was lowered, more than one member has to leave first.
      local leaver = redis.call('ZRANGE', key, count - max, count - max, 'WITHSCORES')
      full_until = math.max(full_until, tonumber(leaver[2]) + per)
    elseif since > 0 and now - since < per then
      unsure[#unsure + 1] = i
      unsure_until = math.max(unsure_until, since + per)
    end
  end
end

for i = limits + 1, #KEYS - 1 do
  local cap = {key = KEYS[i + 1], position = i, max = tonumber(ARGV[2 * i + 3]), amount = tonumber(ARGV[2 * i + 4])}
  local stored = redis.call('HMGET', cap.key, 'day', 'total', 'alerted', charge)
  cap.current = tonumber(stored[1]) == today
  cap.total = cap.current and tonumber(stored[2]) or 0
  cap.alerted = cap.current and tonumber(stored[3]) or 0
  cap.held = cap.current and tonumber(stored[4]) or 0
  caps[#caps + 1] = cap
  totals[#totals + 1] = cap.total
  if cap.amount > cap.held and cap.total - cap.held + cap.amount > cap.max then
    full[#full + 1] = i
    full_until = math.max(full_until, (today + 1) * DAY_MS)
    -- It is reached, even if a cheaper message would still fit.
    alert_at(cap, cap.max)
  end
end

if #full > 0 then
  return {0, 0, full_until, full, totals, alerts}
end
if #unsure > 0 and ARGV[2] ~= '1' then
  return {0, 1, unsure_until, unsure, totals, alerts}
end
-- Refresh a member that already has a place: the window counts from the send that follows.
for i = 1, limits do
  redis.call('ZADD', KEYS[i + 1], now, member)
  redis.call('PEXPIRE', KEYS[i + 1], ARGV[2 * i + 4])
end
for place, cap in ipairs(caps) do
  if cap.amount ~= cap.held then
    begin_day(cap)
    cap.total = cap.total - cap.held + cap.amount
    totals[place] = cap.total
    redis.call('HSET', cap.key, 'total', string.format('%.0f', cap.total), charge, string.format('%.0f', cap.amount))
    alert_at(cap, cap.total)
  end
end
return {1, #unsure > 0 and 1 or 0, 0, {}, totals, alerts}
