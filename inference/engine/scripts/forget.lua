-- A record was deleted for good: its answer goes, and a repeat is told to look in the database, where a trace is.
-- KEYS: answers
for _, answer in ipairs(KEYS) do
  if redis.call('EXISTS', answer) == 1 then
    redis.call('HDEL', answer, 'a')
    redis.call('HSET', answer, 'r', '1')
  end
end
return 1
