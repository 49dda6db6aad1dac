-- Removes the queues of a process that ends.
--
-- KEYS  queues (sorted sets)
-- Returns how many messages were in them.
-- Cost  a command each, and one.
local n = 0
for i = 1, #KEYS do n = n + redis.call('ZCARD', KEYS[i]) end
redis.call('DEL', unpack(KEYS))
return n
