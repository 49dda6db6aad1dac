-- Adds a control entry to the inbox of a process, whatever its bounds.
--
-- KEYS  1 inbox (stream)  2 lease (hash)
-- ARGV  1 entry
-- Returns 1 when added, 0 when there is no such inbox.
-- Cost  two commands.
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
if not redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', 'c', ARGV[1]) then return 0 end
return 1
