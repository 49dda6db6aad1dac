-- Adds messages to the queue of one normal channel or of one process, each if
-- the queue then holds no more than the message's channel may.
--
-- KEYS  1 queue (sorted set; score: when sent, in seconds)
-- ARGV  1 expiry in microseconds  2 how long the queue is kept, in ms
--       3 a score, in microseconds, that the new ones must be above
--       then, any number of times: capacity, message
-- Returns {time, last score given, how many had expired, {those without room,
-- by their places}}, times in microseconds.
-- Cost  four commands, six if the queue was not empty, whatever the number of
-- messages.
--
-- Equal scores would be popped in the order of what they score, so each is
-- above the last, which is looked at only where it is not below the time: it
-- comes with its message. Nothing is removed before something was added: a
-- script that begins with a removal is not refused when memory is full.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local score = math.max(now - 1, tonumber(ARGV[3]))
local function seconds(us) return string.format('%d.%06d', math.floor(us / 1000000), us % 1000000) end
local length, expired, cutoff = redis.call('ZCARD', KEYS[1]), 0, nil
if length > 0 then
  if redis.call('ZCOUNT', KEYS[1], '(' .. seconds(score), '+inf') > 0 then
    local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2] * 1000000
    if last < now + 1000000 then score = math.ceil(last) end
  end
  cutoff = seconds(now - ARGV[1])
  expired = redis.call('ZCOUNT', KEYS[1], '-inf', cutoff)
  length = length - expired
end

local reply, add = {}, {}
for i = 4, #ARGV, 2 do
  if length >= tonumber(ARGV[i]) then
    reply[#reply + 1] = (i - 4) / 2
  else
    length, score = length + 1, score + 1
    add[#add + 1] = seconds(score)
    add[#add + 1] = ARGV[i + 1]
  end
end
if #add > 0 then
  redis.call('ZADD', KEYS[1], unpack(add))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if expired > 0 then redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', cutoff) end
return {now, score, expired, reply}
