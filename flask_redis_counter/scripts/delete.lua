-- Deletes a counter and what describes it; answers the value that it had, false where there was
-- none. What keeps a repeated hit from counting twice stays.
--
-- KEYS: the counter; the names of all counters; all else that is to go
local old = redis.call('GET', KEYS[1])
if old then
    redis.call('INCRBY', KEYS[1], 0) -- fails where it is no integer, before anything is changed
end
redis.call('ZREM', KEYS[2], string.match(KEYS[1], '{(.*)}$'))
redis.call('DEL', KEYS[1], unpack(KEYS, 3))
return old
