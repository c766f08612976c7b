-- Take a token and queue one observation, or say why not; in one step, so that no two processes see different truths.
-- KEYS: bucket, quota, answer, circuit, probe, queue, backlog
-- ARGV: rate, burst, quota, digest, queue bound, backlog bound, answer seconds, request id, field, value, ...
-- Returns {outcome, bucket state, detail}: outcomes queued (detail: entry id), replay (the answer), in_flight, recorded,
-- conflict, limited, open (ms until a probe), full, backlog.
local bucket = take(KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))
if bucket[1] == 0 then return {'limited', bucket, ''} end

local known = redis.call('HMGET', KEYS[3], 'd', 'a', 'r')
if known[1] then
  if known[1] ~= ARGV[4] then return {'conflict', bucket, ''} end
  if known[2] then return {'replay', bucket, known[2]} end
  if known[3] then return {'recorded', bucket, ''} end
  return {'in_flight', bucket, ''}
end

local probing = '0'
local closes = redis.call('HGET', KEYS[4], 'until')
if closes then
  local time = redis.call('TIME')
  local wait = tonumber(closes) - (time[1] * 1000 + math.floor(time[2] / 1000))
  if wait > 0 then return {'open', bucket, tostring(wait)} end
  if not redis.call('SET', KEYS[5], ARGV[8], 'NX', 'PX', 5000) then return {'open', bucket, '1000'} end
  probing = '1'
end

if redis.call('XLEN', KEYS[6]) >= tonumber(ARGV[5]) then return {'full', bucket, ''} end
if tonumber(redis.call('GET', KEYS[7]) or '0') >= tonumber(ARGV[6]) then return {'backlog', bucket, ''} end

redis.call('HSET', KEYS[3], 'd', ARGV[4])
redis.call('EXPIRE', KEYS[3], ARGV[7])
local fields = {'probe', probing}
for i = 9, #ARGV do fields[#fields + 1] = ARGV[i] end
return {'queued', bucket, redis.call('XADD', KEYS[6], '*', unpack(fields))}
