-- Reads who is in a group of a Cluster, and forgets normal channels whose
-- membership has ended.
--
-- KEYS  1 group (sorted set of p<process>/<incarnation>, score 0, and
--       n<normal channel>, score: when the membership ends, in ms)
-- Returns its members.
-- Cost  three commands, and the members.
local now = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], 1, string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
return redis.call('ZRANGE', KEYS[1], 0, -1)
