-- Removes the queues of a process that ends, and what stands in their place.
--
-- KEYS  queues (sorted sets)
-- Returns how many messages were in them.
-- Cost  a command each, and one.
local n = 0
for i = 1, #KEYS do
  local length = redis.pcall('ZCARD', KEYS[i])
  if type(length) == 'number' then n = n + length end
end
redis.call('DEL', unpack(KEYS))
return n
