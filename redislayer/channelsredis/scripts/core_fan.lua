-- Adds messages to the queues of a group's processes and normal channels,
-- skipping those without room; if a digest is given, only if the group's
-- members are still those it was made of.
--
-- KEYS  1 group (sorted set of channels; score: when added, in seconds)
--       then, k times: queue (sorted set; score: when sent, in seconds)
-- ARGV  1 expiry in microseconds  2 how long a queue is kept, in ms
--       3 a score, in microseconds, that the new ones must be above
--       4 group expiry in microseconds  5 digest, or ''  6 n, how many messages
--       then, k times: capacity, n messages
-- Returns {time, last score given, 0, {messages skipped for each queue}, {how
-- many had expired in each queue}, {place of a queue that could not be used, why,
-- ...}}, or {time, ARGV[3], 1, {member, ...}} if the digest is another's; times in
-- microseconds.
-- Cost  three commands a queue, five if it was not empty, whatever the number of
-- messages; with a digest, half a microsecond for each member besides.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local score = math.max(now - 1, tonumber(ARGV[3]))
local function seconds(us) return string.format('%d.%06d', math.floor(us / 1000000), us % 1000000) end

if ARGV[5] ~= '' then
  local members = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. seconds(now - ARGV[4]), '+inf')
  if redis.sha1hex(table.concat(members, '\n')) ~= ARGV[5] then
    return {now, tonumber(ARGV[3]), 1, members}
  end
end

local n, top, skipped, gone, bad = tonumber(ARGV[6]), score, {}, {}, {}
local cutoff = seconds(now - ARGV[1])
for k = 2, #KEYS do
  local first = 7 + (k - 2) * (n + 1)
  local s, expired, length = score, 0, redis.pcall('ZCARD', KEYS[k])
  if type(length) == 'table' then -- the key holds something else; the others get theirs
    bad[#bad + 1], bad[#bad + 2], length = k - 2, length.err, math.huge
  elseif length > 0 then
    if redis.call('ZCOUNT', KEYS[k], '(' .. seconds(s), '+inf') > 0 then -- else the last, with its message, need not be read
      local last = redis.call('ZRANGE', KEYS[k], -1, -1, 'WITHSCORES')[2] * 1000000
      if last < now + 1000000 then s = math.ceil(last) end
    end
    expired = redis.call('ZCOUNT', KEYS[k], '-inf', cutoff)
  end
  local room = math.max(0, math.min(n, tonumber(ARGV[first]) - length + expired))
  if room > 0 then
    local add = {}
    for i = 1, room do
      s = s + 1
      add[2 * i - 1], add[2 * i] = seconds(s), ARGV[first + i]
    end
    redis.call('ZADD', KEYS[k], unpack(add))
    redis.call('PEXPIRE', KEYS[k], ARGV[2])
  end
  if expired > 0 then redis.call('ZREMRANGEBYSCORE', KEYS[k], '-inf', cutoff) end
  skipped[k - 1], gone[k - 1] = n - room, expired
  top = math.max(top, s)
end
return {now, top, 0, skipped, gone, bad}
