-- The caller gave up: take the observation out of the queue and free its request id, unless it was answered meanwhile.
-- KEYS: queue, answer    ARGV: group, entry id    Returns the answer where there is one.
local known = redis.call('HMGET', KEYS[2], 'a', 'r')
if known[1] then return known[1] end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XDEL', KEYS[1], ARGV[2]) == 1 and not known[2] then redis.call('DEL', KEYS[2]) end
return false
