-- Finds out which of the commands that the layer uses its user may not run. The
-- key is made a hash: commands for other types are refused for that, and so do
-- nothing, unless the user's rights are what they are refused for.
--
-- KEYS  1 a key under the prefix that is used for nothing else
-- ARGV  1 'cluster' on a Cluster, where the layer uses more commands
-- Returns the commands that the user may not run on it, in capitals.
-- Cost  one command for each that the layer uses.
local k = KEYS[1]
local commands = {
  {'PEXPIRE', k, 1000}, {'HSET', k, 'f', 1}, {'HGET', k, 'f'}, {'HMGET', k, 'f'}, {'EXISTS', k}, {'TIME'},
  {'XADD', k, 'NOMKSTREAM', '*', 'f', 1}, {'XDEL', k, '0-1'}, {'XINFO', 'STREAM', k}, {'XLEN', k}, {'XRANGE', k, '-', '+'},
  {'XREAD', 'STREAMS', k, '0'}, {'XSETID', k, '1-1'}, {'XTRIM', k, 'MAXLEN', 0},
  {'ZADD', k, 0, 'm'}, {'ZCARD', k}, {'ZRANGE', k, 0, 0}, {'ZREM', k, 'm'}, {'ZREMRANGEBYSCORE', k, 0, 0},
  {'LPOP', k}, {'LREM', k, 0, 'm'}, {'RPUSH', k, 'm'}, {'DEL', k},
}
local ofCluster = {
  {'HDEL', k, 'f'}, {'HKEYS', k},
}
if ARGV[1] == 'cluster' then
  for _, command in ipairs(ofCluster) do commands[#commands + 1] = command end
end
local refused = {}
for _, command in ipairs(commands) do
  local reply = redis.pcall(unpack(command))
  local text = type(reply) == 'table' and reply['err'] or ''
  if string.find(text, 'permission', 1, true) or string.find(text, "can't run this", 1, true) or string.find(text, "can't access", 1, true) then
    refused[#refused + 1] = command[1]
  end
end
return refused
