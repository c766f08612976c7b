-- The recorder has written a batch: leave the stream, remember that each answer is recorded, and shrink the backlog.
-- KEYS: records, backlog    ARGV: group, answer seconds, then for each: entry id, answer key, backlog bytes
for i = 3, #ARGV, 3 do
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  if redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then redis.call('DECRBY', KEYS[2], ARGV[i + 2]) end
  if redis.call('EXISTS', ARGV[i + 1]) == 1 then
    redis.call('HDEL', ARGV[i + 1], 'a')
    redis.call('HSET', ARGV[i + 1], 'r', '1')
    redis.call('EXPIRE', ARGV[i + 1], ARGV[2])
  end
end
return 1
