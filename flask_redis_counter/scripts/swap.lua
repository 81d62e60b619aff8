-- Sets a counter and answers the value that it had, false where there was none.
-- INCRBY 0 is the test for an integer: it fails before anything is changed.
-- The old value goes back as the string that GET gives: a Lua number would lose digits beyond 2^53.
local old = redis.call('GET', KEYS[1])
if old then
    redis.call('INCRBY', KEYS[1], 0)
end
redis.call('SET', KEYS[1], ARGV[1])
return old
