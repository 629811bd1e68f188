-- Put a token that was taken and not used back into a provider's bucket.
--
-- Invariant: the next take (bucket.lua) finds at most the bucket's capacity. The tenant that took it has used its turn.
--
-- KEYS[1]       the bucket: a hash of `tokens` and `at`
--
-- Returns 1; 0 if the bucket is full, as it expired.
if redis.call('HEXISTS', KEYS[1], 'tokens') == 0 then
  return 0
end
redis.call('HINCRBYFLOAT', KEYS[1], 'tokens', 1)
return 1
