-- Works on the queue of one normal channel of a Cluster, where the inboxes of
-- receivers are at other nodes. A message is set aside for the process that
-- waits longest; that process is woken, and fetches it. What it fetched is kept
-- until it fetches again: whoever did not hear the answer asks the same again,
-- and is given the same.
--
-- KEYS  1 queue (sorted set of entries, score: when accepted, in microseconds)
--       2 waiting (list: a process for each of its receivers, in order)
--       3 set aside (hash: <process>: 'id first fetched next', numbers of the
--         last request and of what is set aside for the process, of which the
--         part before fetched was given to it; <process>/<number>: a score, a
--         space, an entry)
-- ARGV  1 capacity  2 expiry in ms  3 how long waiting is kept, in ms
--       then, any number of times, four of one of these:
--         'push'   entry    ''  ''        a new message
--         'fetch'  process  id  numbers   n receivers wait there: n, the last
--                                         id that was answered, and which of
--                                         the messages it was given then go
--                                         back, with spaces between
--         'gone'   process  ''  ''        it has no inbox
--         'prune'  ''       ''  ''        what has expired is dropped
-- Returns {expired messages dropped, others dropped because this server was set
-- back, {process, ...}, now in microseconds, result, ...}: processes for which something was set aside, or, after prune,
-- still is; for push 1, or 0 when the queue is full; for fetch {number, score,
-- entry, ...}; otherwise 1.
-- Cost  three commands, three to six a message.
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local limit = now - ARGV[2] * 1000
local expired, late, woken, wakes = 0, 0, {}, {}
-- A write that Redis allows when its memory is full lets what follows write
-- too: receivers may wait then, but messages may not be added.
if ARGV[4] ~= 'push' then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if oldest and tonumber(oldest) <= limit then
  expired = redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', limit))
end

local function wake(process)
  if not woken[process] then
    woken[process] = true
    wakes[#wakes + 1] = process
  end
end

local function load(process)
  local state = redis.call('HGET', KEYS[3], process)
  if not state then return {id = 0, first = 0, fetched = 0, next = 0} end
  local id, first, fetched, next = string.match(state, '^(%d+) (%d+) (%d+) (%d+)$')
  return {id = tonumber(id), first = tonumber(first), fetched = tonumber(fetched), next = tonumber(next)}
end

local function drop(process, number)
  return redis.call('HDEL', KEYS[3], process .. '/' .. string.format('%.0f', number))
end

local function save(process, s)
  redis.call('HSET', KEYS[3], process, string.format('%.0f %.0f %.0f %.0f', s.id, s.first, s.fetched, s.next))
  redis.call('PEXPIRE', KEYS[3], 2 * ARGV[2] + ARGV[3])
end

local function take(process, s) -- the oldest message for the process
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  redis.call('HSET', KEYS[3], process .. '/' .. string.format('%.0f', s.next), first[2] .. ' ' .. first[1])
  redis.call('ZREM', KEYS[1], first[1])
  s.next = s.next + 1
end

local function record(process, number)
  local field = process .. '/' .. string.format('%.0f', number)
  local value = redis.call('HGET', KEYS[3], field)
  if not value then return nil end
  local space = string.find(value, ' ', 1, true)
  return field, string.sub(value, 1, space - 1), string.sub(value, space + 1)
end

local function back(process, number)
  local field, score, entry = record(process, number)
  if not field then return end
  redis.call('ZADD', KEYS[1], score, entry)
  redis.call('HDEL', KEYS[3], field)
  redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2] + 5000)
end

local function match()
  while redis.call('ZCARD', KEYS[1]) > 0 do
    local process = redis.call('LPOP', KEYS[2])
    if not process then return end
    local s = load(process)
    take(process, s)
    save(process, s)
    wake(process)
  end
end

local function fetch(process, id, wanted, heard, returned)
  local s = load(process)
  if id > s.id then
    for number = s.first, s.fetched - 1 do
      -- What was given to a request that ran late, nobody has heard of. Where
      -- more was heard than is known here, this server has been set back, and
      -- it is not known whether what it gave was heard of.
      if s.id > heard or s.id == heard and returned[number] then
        back(process, number)
      else
        local dropped = drop(process, number)
        if s.id < heard then late = late + dropped end
      end
    end
    s.id, s.first = id, s.fetched
    redis.call('LREM', KEYS[2], 0, process)
    while s.next - s.fetched > wanted do
      s.next = s.next - 1
      back(process, s.next)
    end
    s.fetched = s.next
    match() -- those who wait already come first
    while s.fetched - s.first < wanted and redis.call('ZCARD', KEYS[1]) > 0 do
      take(process, s)
      s.fetched = s.next
    end
    if wanted == 0 then
      redis.call('HDEL', KEYS[3], process) -- nothing is left to remember
      return {}
    end
    save(process, s)
    for _ = s.fetched - s.first + 1, wanted do redis.call('RPUSH', KEYS[2], process) end
    redis.call('PEXPIRE', KEYS[2], ARGV[3])
  elseif id < s.id then
    return {} -- run late: it has asked anew since
  end
  local given = {}
  for number = s.first, s.fetched - 1 do
    local field, score, entry = record(process, number)
    if field then
      given[#given + 1] = number
      given[#given + 1] = score
      given[#given + 1] = entry
    end
  end
  return given
end

local function gone(process)
  redis.call('LREM', KEYS[2], 0, process)
  local s = load(process)
  for number = s.first, s.fetched - 1 do -- it may have received these
    drop(process, number)
  end
  for number = s.fetched, s.next - 1 do back(process, number) end
  redis.call('HDEL', KEYS[3], process)
end

local function prune()
  local fields = redis.call('HKEYS', KEYS[3])
  for _, process in ipairs(fields) do
    if not string.find(process, '/', 1, true) then
      local s = load(process)
      for number = s.fetched, s.next - 1 do
        local field, score = record(process, number)
        if field and tonumber(score) <= limit then
          redis.call('HDEL', KEYS[3], field)
          expired = expired + 1
        elseif field then
          wake(process)
        end
      end
    end
  end
end

local results = {}
for i = 4, #ARGV, 4 do
  local what, a, b, c = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
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
  elseif what == 'fetch' then
    local wanted, heard, returned = nil, nil, {}
    for number in string.gmatch(c, '%d+') do
      number = tonumber(number)
      if heard then
        returned[number] = true
      elseif wanted then
        heard = number
      else
        wanted = number
      end
    end
    result = fetch(a, tonumber(b), wanted, heard, returned)
  elseif what == 'gone' then
    gone(a)
  elseif what == 'prune' then
    prune()
  end
  results[#results + 1] = result
  match()
end
return {expired, late, wakes, string.format('%.0f', now), unpack(results)}
