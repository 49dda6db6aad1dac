-- Gives back messages that were popped for receivers that went away.
--
-- KEYS  1 queue (sorted set; score: when sent, in seconds)
-- ARGV  1 expiry in ms  then, any number of times: score, message
-- Returns 1.
-- Cost  three commands, four if the queue was empty.
--
-- A script that begins with a removal is not refused when memory is full: what is
-- given back was there a moment ago.
redis.call('ZREM', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[1], unpack(ARGV, 2))
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1
