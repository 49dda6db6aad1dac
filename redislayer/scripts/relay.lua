-- Adds one entry to the inbox of a process in a Cluster, within its bounds; one
-- with messages for groups only if it is the inbox that joined them.
--
-- KEYS  1 inbox (stream)  2 lease (hash)
-- ARGV  1 entry  2 messages in it  3 most messages  4 most bytes
--       5 incarnation, or '' for any
-- Returns 1 when added, 0 when there is no such inbox, -1 when it has no room.
-- Cost  three commands, whatever the number of messages.
local lease = redis.call('HMGET', KEYS[2], 'i', 'n', 'b', 'rn', 'rb')
if not lease[1] or ARGV[5] ~= '' and lease[1] ~= ARGV[5] then return 0 end
local n, b = lease[2] + ARGV[2], lease[3] + #ARGV[1]
if n - lease[4] > tonumber(ARGV[3]) or (b - lease[5] > tonumber(ARGV[4]) and lease[3] ~= lease[5]) then return -1 end
if not redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', 'e', ARGV[1], 'n', ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], 'n', string.format('%.0f', n), 'b', string.format('%.0f', b))
return 1
