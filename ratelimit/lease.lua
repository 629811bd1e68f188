-- Lease tokens of a bucket to one process, which spends them by itself.
--
-- Invariant: in any t seconds at most capacity + rate * t tokens are leased ahead, over all processes. What a process
-- owes is always taken, and nothing is leased before the rate has repaid it.
--
-- KEYS[1]       the bucket: a hash of `tokens` (negative: owed) and `at` (microseconds of the store's clock)
-- ARGV[1]       tokens per second
-- ARGV[2]       capacity
-- ARGV[3]       how many tokens the process owes: it has spent them already
-- ARGV[4]       how many it wants ahead of need
--
-- Returns {leased, left, wait}: the tokens leased ahead (whole ones, perhaps fewer than wanted), those left in the
-- bucket, and if fewer than wanted were leased the microseconds until there is another.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local rate = tonumber(ARGV[1])
local capacity = tonumber(ARGV[2])
local owed = tonumber(ARGV[3])
local wanted = tonumber(ARGV[4])

local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(state[1]) or capacity
local elapsed = math.max(0, now - (tonumber(state[2]) or now))
tokens = math.min(capacity, tokens + elapsed * rate / 1000000) - owed

local leased = math.max(0, math.min(wanted, math.floor(tokens)))
local left = tokens - leased
local wait = 0
if leased < wanted then
  wait = math.ceil((1 - left) * 1000000 / rate)
end
-- Doubles hold microseconds since 1970 exactly, but Lua prints only 14 digits by default.
redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', left), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((capacity - math.min(0, left)) / rate * 1000) + 1000)
return {leased, math.floor(left), wait}
