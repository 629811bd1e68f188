-- Take one token from a provider's bucket, or return the wait until there is one.
--
-- Invariant: in any t seconds at most capacity + rate * t tokens are taken. A refusal takes nothing.
--
-- KEYS[1]       the bucket: a hash of `tokens` and `at` (microseconds of the store's clock)
-- ARGV[1]       tokens per second
-- ARGV[2]       capacity
--
-- Returns the wait in microseconds; 0 means a token was taken.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local rate = tonumber(ARGV[1])
local capacity = tonumber(ARGV[2])

local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(state[1]) or capacity
local elapsed = math.max(0, now - (tonumber(state[2]) or now))
tokens = math.min(capacity, tokens + elapsed * rate / 1000000)

if tokens < 1 then
  return math.ceil((1 - tokens) * 1000000 / rate)
end
-- Doubles hold microseconds since 1970 exactly, but Lua prints only 14 digits by default.
redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens - 1), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity / rate * 1000) + 1000)
return 0
