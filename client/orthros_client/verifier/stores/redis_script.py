"""The one step of the store in Redis or Valkey, in Lua: it judges the memory, forgets what has expired, and burns.

Keys, below one prefix: `:m` the memory's head; `:b` the buckets, by generation and time; `:GENERATION:BUCKET:t` tags
with the token of the call that burnt each; `:GENERATION:BUCKET:n` how many of each ticket, client and in all.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SCRIPT"]

SCRIPT: Final = """
local tag, ts, client, ticket, token, fresh_random = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local capacity, per_client, per_ticket = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local past, ahead, width = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local step, margin, most_deleted = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local head, index = KEYS[1] .. ':m', KEYS[1] .. ':b'
local span = 1000000000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local info = redis.call('INFO', 'server', 'replication', 'memory', 'stats')
local run, history = string.match(info, 'run_id:(%w+)'), string.match(info, 'master_replid:(%w+)')
local evicted = string.match(info, 'evicted_keys:(%d+)')
if string.match(info, 'role:(%w+)') ~= 'master' then return {'role', now} end
if string.match(info, 'maxmemory_policy:([%w-]+)') ~= 'noeviction' then return {'policy', now} end

-- A memory is unbroken while its random is there, the server and its history are the same, nothing was evicted, and the
-- clock goes forward.
local known = redis.call('HMGET', head, 'random', 'run', 'history', 'born', 'high', 'floor', 'generation', 'evicted')
local random, born, high = known[1], tonumber(known[4] or 0), tonumber(known[5] or 0)
local floor, generation = tonumber(known[6] or 0), tonumber(known[7] or 0)
local recorded = high
if not random or known[2] ~= run or known[3] ~= history or known[8] ~= evicted or high - now > step then
  random, born = fresh_random, math.max(now, high, born - margin) + margin
  high, floor, generation = now, 0, generation + 1
end
local forgotten = floor
high = math.max(high, now)
floor = math.max(floor, math.floor((now - past) / width))

local function name(generation, bucket, kind)
  return string.format('%s:%.0f:%.0f:%s', KEYS[1], generation, bucket, kind)
end
-- At most a few entries of the oldest bucket below `limit`.
local function prune(limit)
  local oldest = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')
  if not oldest[1] or tonumber(oldest[2]) >= limit then return end
  local tags, counts = KEYS[1] .. ':' .. oldest[1] .. ':t', KEYS[1] .. ':' .. oldest[1] .. ':n'
  if redis.call('HLEN', tags) > most_deleted then
    redis.call('HDEL', tags, unpack(redis.call('HRANDFIELD', tags, most_deleted)))
  else
    redis.call('DEL', tags, counts)
    redis.call('ZREM', index, oldest[1])
  end
end
local kept = redis.pcall('HSET', head, 'random', random, 'run', run, 'history', history, 'evicted', evicted,
  'born', string.format('%.0f', born), 'high', string.format('%.0f', high),
  'floor', string.format('%.0f', floor), 'generation', string.format('%.0f', generation))
if type(kept) == 'table' and kept.err then
  -- No memory is left. What was forgotten before may be deleted: nothing newer, since nothing can be recorded of it.
  if now - recorded <= past + width then
    prune(generation * span + forgotten)
    return {'memory', now}
  end
  -- Nothing was recorded for so long that all that is left has expired: begin again, with room.
  redis.call('HDEL', head, 'random')
  for _, member in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    redis.call('UNLINK', KEYS[1] .. ':' .. member .. ':t', KEYS[1] .. ':' .. member .. ':n')
  end
  redis.call('DEL', index)
  return {'memory', now}
end

prune(generation * span + floor)

local function answer(word) return {word, now, born, random, run, history} end
local bucket = math.floor(ts / width)
if bucket < floor then return answer('stale') end
local tags, counts = name(generation, bucket, 't'), name(generation, bucket, 'n')
local burnt = redis.call('HGET', tags, tag)
if burnt then
  -- A call that lost its answer asks again with its own token.
  if burnt == token then return answer('fresh') end
  return answer('seen')
end
if ts > now + ahead then return answer('ahead') end
local of_ticket, of_client, of_all = 0, 0, 0
local lowest = string.format('%.0f', generation * span + floor)
for _, member in ipairs(redis.call('ZRANGE', index, lowest, '+inf', 'BYSCORE')) do
  local found = redis.call('HMGET', KEYS[1] .. ':' .. member .. ':n', ticket, client, 'all')
  of_ticket = of_ticket + tonumber(found[1] or 0)
  of_client = of_client + tonumber(found[2] or 0)
  of_all = of_all + tonumber(found[3] or 0)
end
if of_ticket >= per_ticket or of_client >= per_client then return answer('quota') end
if of_all >= capacity then return answer('full') end
redis.call('HSET', tags, tag, token)
redis.call('HINCRBY', counts, ticket, 1)
redis.call('HINCRBY', counts, client, 1)
redis.call('HINCRBY', counts, 'all', 1)
redis.call('ZADD', index, string.format('%.0f', generation * span + bucket),
  string.format('%.0f:%.0f', generation, bucket))
return answer('fresh')
"""
