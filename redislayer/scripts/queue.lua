-- Works on the queue of one normal channel: adds messages, takes note of
-- receivers that wait, and hands messages to them, oldest to longest waiting,
-- by adding them to the inbox of the receiver's process.
--
-- KEYS  1 queue (sorted set of entries, score: when accepted, in microseconds)
--       2 waiting (list: a process for each of its receivers, in order)
-- ARGV  1 capacity  2 expiry in ms  3 key of an inbox, up to the process
--       4 how long the list of the waiting is kept, in ms
--       5 key of a lease, up to the process
--       then, any number of times, three of one of these:
--         'push'   entry    ''       a new message
--         'prune'  ''       ''       nothing: only what has expired is dropped
--         'back'   entry    score    a message whose receiver went away
--         'wait'   process  n        n more of its receivers wait
--         'leave'  process  n        n of its receivers wait no more
--         'reset'  process  mark     none of its receivers wait; the control
--                                    entry mark is put into its inbox, behind
--                                    all messages that were handed to it
-- Returns {expired messages dropped, result, ...}: for push 1, or 0 when the
-- queue is full; for leave how many left; for reset 0 if there is no such
-- inbox; otherwise 1.
-- Cost  two commands, two to three a push, four for each message handed over.
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local expired = 0
-- A write that Redis allows when its memory is full lets what follows write
-- too: receivers may wait then, but messages may not be added.
if ARGV[6] ~= 'push' then redis.call('PEXPIRE', KEYS[2], ARGV[4]) end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if oldest and tonumber(oldest) <= now - ARGV[2] * 1000 then
  expired = redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2] * 1000)
end

local function match()
  while redis.call('ZCARD', KEYS[1]) > 0 do
    local process = redis.call('LPOP', KEYS[2])
    if not process then return end
    local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    -- Without a lease nobody reads the inbox, which goes later.
    if redis.call('EXISTS', ARGV[5] .. process) == 1 and redis.call('XADD', ARGV[3] .. process, 'NOMKSTREAM', '*', 'e', first[1], 's', first[2]) then
      redis.call('ZREM', KEYS[1], first[1])
    end
  end
end

local reply = {expired}
for i = 6, #ARGV, 3 do
  local what, a, b = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local result = 1
  if what == 'push' then
    if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
      result = 0
    else
      local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
      local score = now
      if last and tonumber(last) >= now then score = tonumber(last) + 1 end
      redis.call('ZADD', KEYS[1], string.format('%.0f', score), a)
      redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2] + 5000) -- whoever pushed prunes before that
    end
  elseif what == 'back' then
    redis.call('ZADD', KEYS[1], b, a)
    redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2] + 5000) -- whoever pushed prunes before that
  elseif what == 'leave' then
    result = redis.call('LREM', KEYS[2], b, a)
  elseif what == 'reset' then
    redis.call('LREM', KEYS[2], 0, a)
    if not redis.call('XADD', ARGV[3] .. a, 'NOMKSTREAM', '*', 'c', b) then result = 0 end
  elseif what == 'wait' then
    for _ = 1, tonumber(b) do redis.call('RPUSH', KEYS[2], a) end
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
  end
  reply[#reply + 1] = result
  match()
end
return reply
