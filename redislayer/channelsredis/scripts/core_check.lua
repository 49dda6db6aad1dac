-- Finds out which of the commands that the layer uses its user may not run. None
-- does anything to a key that is not there.
--
-- KEYS  1 a key under the prefix that is never there
-- Returns the commands that the user may not run on it.
-- Cost  one command for each that the layer uses.
local k = KEYS[1]
local refused = {}
for _, command in ipairs({
  {'ZADD', k, 'XX', 0, 'm'}, {'ZCARD', k}, {'ZCOUNT', k, 0, 0}, {'ZMSCORE', k, 'm'}, {'ZRANGE', k, 0, 0}, {'ZRANGEBYSCORE', k, 0, 0},
  {'ZREM', k, 'm'}, {'ZREMRANGEBYSCORE', k, 0, 0}, {'BZMPOP', 1, 1, k, 'MIN'}, -- which does not wait in a script
  {'PEXPIRE', k, 1}, {'PTTL', k}, {'DEL', k}, {'EXISTS', k}, {'TYPE', k}, {'TIME'},
}) do
  local reply = redis.pcall(unpack(command))
  local text = type(reply) == 'table' and reply['err'] or ''
  if string.find(text, 'permission', 1, true) or string.find(text, "can't run this", 1, true) or string.find(text, "can't access", 1, true) then
    refused[#refused + 1] = command[1]
  end
end
return refused
