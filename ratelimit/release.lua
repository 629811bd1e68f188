-- Free a member's places after its delivery ended without a send.
--
-- Invariant: only this member's places are freed, and freeing twice has the same effect as freeing once.
--
-- KEYS[1..n]    one sorted set per limit
-- ARGV[1]       the member (a delivery)
local freed = 0
for i = 1, #KEYS do
  freed = freed + redis.call('ZREM', KEYS[i], ARGV[1])
end
return freed
