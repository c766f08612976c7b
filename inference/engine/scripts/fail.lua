-- Count one failure of a policy version; open its circuit at the threshold, or at once when a probe failed.
-- KEYS: circuit, probe    ARGV: threshold, open milliseconds, probing    Returns 1 when the circuit is open.
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[2]) * 20)
if failures < tonumber(ARGV[1]) and ARGV[3] ~= '1' then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'until', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2]))
redis.call('DEL', KEYS[2])
return 1
