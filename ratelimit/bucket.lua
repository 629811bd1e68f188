-- Take one token from a provider's bucket for a tenant, or return the wait until there is one.
--
-- Invariant: in any t seconds at most capacity + rate * t tokens are taken. A refusal takes nothing.
-- Invariant: each tenant that asked recently has its share of the rate, by its weight, whatever the others ask for.
-- What it does not use at once it saves up: its share of the bucket, and two tokens at least. Up to its share of the
-- bucket is kept for it; all else goes to the next tenant that asks.
-- Invariant: what is kept for others costs at most a tenth of the rate. A full bucket loses what it is refilled with;
-- once a tenth of the tokens taken was lost while somebody was refused, only the last tenth of the bucket is kept.
-- The last tenth is also kept while a tenant is alone, so that others need not wait behind its burst.
--
-- The cost does not depend on the number of tenants. `turn` grows by each refill divided by the weights of all, so that
-- a tenant has saved weight * (turn - level). As everyone's savings reach their share of the bucket after the same
-- growth, two sums over those below it give what is kept.
--
-- KEYS[1]       the bucket: a hash of `tokens` and `at` (microseconds of the store's clock)
-- KEYS[2]       the tenants that asked recently: a sorted set by when, in microseconds
-- KEYS[3]       a hash of `turn`; `weight`, of all tenants; `low_weight` and `low_saved`, of those in KEYS[4]; `spare`,
--               what may still be lost; `held`, until when a loss is due to a refusal; each tenant's `weight:`, `level:`
-- KEYS[4]       the tenants that have saved less than their share of the bucket: a sorted set by level
-- ARGV[1]       tokens per second
-- ARGV[2]       capacity
-- ARGV[3]       the tenant
-- ARGV[4]       its weight
-- ARGV[5]       how long a tenant counts as having asked recently, in microseconds
--
-- Returns the wait in microseconds; 0 means a token was taken.
local STEPS_MAX = 100
local RETRY_US = 1000000

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local rate = tonumber(ARGV[1])
local capacity = tonumber(ARGV[2])
local tenant, own_weight = ARGV[3], tonumber(ARGV[4])
local kept = math.min(capacity - 1, capacity / 10)

local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local at = tonumber(state[2]) or now
local refill = math.max(0, now - at) * rate / 1000000
local filled = (tonumber(state[1]) or capacity) + refill
local tokens = math.min(capacity, filled)

local found = redis.call('HMGET', KEYS[3], 'turn', 'weight', 'low_weight', 'low_saved', 'spare', 'held')
local turn, weight = tonumber(found[1]) or 0, tonumber(found[2]) or 0
local low_weight, low_saved = tonumber(found[3]) or 0, tonumber(found[4]) or 0
local spare, held = tonumber(found[5]) or 0, tonumber(found[6]) or 0
if weight > 0 then
  turn = turn + refill / weight
  low_saved = low_saved + low_weight * refill / weight
end
if at < held then
  spare = math.max(-capacity, spare - (filled - tokens))
end

local function exact(number)
  -- Doubles hold microseconds since 1970 exactly, but Lua prints only 14 digits by default.
  return string.format('%.17g', number)
end

local function weight_of(name)
  return tonumber(redis.call('HGET', KEYS[3], 'weight:' .. name)) or 0
end

local function leave_low(name, its_weight)
  local level = tonumber(redis.call('ZSCORE', KEYS[4], name))
  if level then
    redis.call('ZREM', KEYS[4], name)
    low_weight = low_weight - its_weight
    low_saved = low_saved - its_weight * (turn - level)
  end
end

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[5], 'LIMIT', 0, STEPS_MAX)) do
  local its_weight = weight_of(gone)
  leave_low(gone, its_weight)
  weight = weight - its_weight
  redis.call('HDEL', KEYS[3], 'weight:' .. gone, 'level:' .. gone)
  redis.call('ZREM', KEYS[2], gone)
end
local others_asked = redis.call('ZCARD', KEYS[2])
if others_asked == 0 or weight <= 0 then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
  turn, weight, low_weight, low_saved, spare, held, others_asked = 0, 0, 0, 0, 0, 0, 0
end

local level = tonumber(redis.call('HGET', KEYS[3], 'level:' .. tenant))
if level then
  local before = weight_of(tenant)
  leave_low(tenant, before)
  weight = weight - before
  others_asked = others_asked - 1
end
weight = weight + own_weight
local of_bucket = capacity / weight
local share = own_weight * of_bucket
local full = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', exact(turn - of_bucket), 'LIMIT', 0, STEPS_MAX)
for _, name in ipairs(full) do
  leave_low(name, weight_of(name))
end
local others = math.max(0, of_bucket * (weight - own_weight - low_weight) + low_saved)
-- A tenant that comes finds what is not kept for others, and one token.
local saved = math.max(1, math.min(share, tokens - others))
if level then
  saved = math.max(0, math.min(math.max(2, share), own_weight * (turn - level)))
end
if others_asked == 0 then
  others, saved = kept, math.max(0, tokens - kept)
elseif spare < 0 then
  others = math.min(others, kept)
end

local for_token = math.max(0, 1 - tokens) / rate
local wait = for_token
if saved < 1 and tokens < 1 + others then
  local until_share = (1 - saved) * capacity / share
  -- No longer than a second, as the others may have gone by then.
  wait = math.max(for_token, math.min(until_share / rate, (1 + others - tokens) / rate, RETRY_US / 1000000))
end
if wait == 0 then
  tokens = tokens - 1
  saved = math.max(0, saved - 1)
  spare = math.min(math.max(1, capacity / 10), spare + 0.1)
elseif wait > for_token and others_asked > 0 then
  held = now + math.max(RETRY_US, wait * 1000000)
end

level = turn - saved / own_weight
if saved < share then
  redis.call('ZADD', KEYS[4], exact(level), tenant)
  low_weight = low_weight + own_weight
  low_saved = low_saved + saved
end
redis.call('HSET', KEYS[1], 'tokens', exact(tokens), 'at', exact(now))
-- A tenant that has to wait for longer than usual counts until then.
redis.call('ZADD', KEYS[2], exact(now + math.max(0, wait * 1000000 - RETRY_US)), tenant)
redis.call('HSET', KEYS[3], 'turn', exact(turn), 'weight', exact(weight), 'low_weight', exact(low_weight), 'low_saved',
  exact(low_saved), 'spare', exact(spare), 'held', exact(held), 'weight:' .. tenant, ARGV[4], 'level:' .. tenant,
  exact(level))
local lasts_ms = math.ceil(capacity / rate * 1000) + math.ceil(ARGV[5] / 1000) + 1000
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, lasts_ms)
end
return math.ceil(wait * 1000000)
