-- Take one token from a provider's bucket for a tenant, or return the wait until there is one.
--
-- Invariant: in any t seconds at most capacity + rate * t tokens are taken. A refusal takes nothing.
-- Invariant: each tenant that asked recently has its share of the rate, by its weight, whatever the others ask for. Shares
-- that are not used go to the others, except what their tenants may have saved up: at most their share of the bucket.
-- The last tenth of the bucket is left to tenants that did not ask recently, so that they need not wait behind a burst.
--
-- KEYS[1]       the bucket: a hash of `tokens` and `at` (microseconds of the store's clock), and of each tenant that asked
--               recently: `own:`, what it has saved up, and `weight:`
-- KEYS[2]       the tenants that asked recently: a sorted set by when, in microseconds
-- ARGV[1]       tokens per second
-- ARGV[2]       capacity
-- ARGV[3]       the tenant
-- ARGV[4]       its weight
-- ARGV[5]       how long a tenant counts as having asked recently, in microseconds
--
-- Returns the wait in microseconds; 0 means a token was taken.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local rate = tonumber(ARGV[1])
local capacity = tonumber(ARGV[2])
local tenant = ARGV[3]
local lasts_ms = math.ceil(capacity / rate * 1000) + math.ceil(ARGV[5] / 1000) + 1000

local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(state[1]) or capacity
local refill = math.max(0, now - (tonumber(state[2]) or now)) * rate / 1000000
tokens = math.min(capacity, tokens + refill)

local function exact(number)
  -- Doubles hold microseconds since 1970 exactly, but Lua prints only 14 digits by default.
  return string.format('%.17g', number)
end

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[5])) do
  redis.call('HDEL', KEYS[1], 'own:' .. gone, 'weight:' .. gone)
  redis.call('ZREM', KEYS[2], gone)
end
redis.call('ZADD', KEYS[2], exact(now), tenant)
redis.call('HSET', KEYS[1], 'weight:' .. tenant, ARGV[4])

local tenants = redis.call('ZRANGE', KEYS[2], 0, -1)
local weights, total = {}, 0
for place, name in ipairs(tenants) do
  weights[place] = tonumber(redis.call('HGET', KEYS[1], 'weight:' .. name))
  total = total + weights[place]
end

-- A tenant alone saves nothing up: all but the last tenth is its own.
local own, share = 0, 1
local others = math.min(capacity - 1, capacity / 10)
if #tenants > 1 then
  others = 0
  for place, name in ipairs(tenants) do
    local part = weights[place] / total
    local saved = tonumber(redis.call('HGET', KEYS[1], 'own:' .. name)) or capacity * part
    saved = math.min(capacity * part, saved + refill * part)
    redis.call('HSET', KEYS[1], 'own:' .. name, exact(saved))
    if name == tenant then
      own, share = saved, part
    else
      others = others + saved
    end
  end
end

local wait = 0
if tokens < 1 then
  wait = (1 - tokens) / rate
elseif own < 1 and tokens < 1 + others then
  wait = math.min((1 - own) / share, 1 + others - tokens) / rate
end
if wait == 0 then
  tokens = tokens - 1
  if #tenants > 1 then
    redis.call('HSET', KEYS[1], 'own:' .. tenant, exact(math.max(0, own - 1)))
  end
end
redis.call('HSET', KEYS[1], 'tokens', exact(tokens), 'at', exact(now))
redis.call('PEXPIRE', KEYS[1], lasts_ms)
redis.call('PEXPIRE', KEYS[2], lasts_ms)
return math.ceil(wait * 1000000)
