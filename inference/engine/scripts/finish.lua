-- Answer a batch: reply, append to the recorder's stream and leave the queue, in one step. Safe to run again: the first
-- answer to a request stands, and a second run replies with it.
-- KEYS: queue, records, backlog, circuit, probe
-- ARGV: group, answer seconds, count, then for each item:
--       entry id, request id, answer key, reply channel, status, body, probing, backlog bytes, field count, field, value, ...
-- Items of status 200 are recorded; others only leave the queue, and their request id becomes free again.
local next_arg = 4
local replies = {}
for _ = 1, tonumber(ARGV[3]) do
  local entry, request, answer_key, channel = ARGV[next_arg], ARGV[next_arg + 1], ARGV[next_arg + 2], ARGV[next_arg + 3]
  local status, body, probing = ARGV[next_arg + 4], ARGV[next_arg + 5], ARGV[next_arg + 6]
  local bytes, count = tonumber(ARGV[next_arg + 7]), tonumber(ARGV[next_arg + 8])
  local fields = {}
  for i = next_arg + 9, next_arg + 8 + count do fields[#fields + 1] = ARGV[i] end
  next_arg = next_arg + 9 + count

  if status == '200' then
    local known = redis.call('HMGET', answer_key, 'a', 'r')
    if known[1] then
      body = known[1]
    elseif not known[2] then
      redis.call('HSET', answer_key, 'd', fields[2], 'a', body)
      redis.call('EXPIRE', answer_key, ARGV[2])
      redis.call('XADD', KEYS[2], '*', unpack(fields))
      redis.call('INCRBY', KEYS[3], bytes)
    end
    if probing == '1' then redis.call('DEL', KEYS[4], KEYS[5]) end
  elseif not redis.call('HGET', answer_key, 'a') and not redis.call('HGET', answer_key, 'r') then
    redis.call('DEL', answer_key)
  end
  redis.call('XACK', KEYS[1], ARGV[1], entry)
  redis.call('XDEL', KEYS[1], entry)
  if channel ~= '' then
    local list = replies[channel]
    if not list then list = {}; replies[channel] = list end
    list[#list + 1] = {request, tonumber(status), body}
  end
end
for channel, list in pairs(replies) do redis.call('PUBLISH', channel, cmsgpack.pack(list)) end
return 1
