-- Deletes a counter and its records. Replies with its old value, false if it did not exist. The
-- records of writers and idempotency keys stay, so that a repeated hit does not count. After an error
-- reply nothing was changed.
--
-- KEYS: the counter; the names of all counters; its records
local old = redis.call('GET', KEYS[1])
-- Not INCRBY 0, which a full store rejects: deleting must work there, because it frees memory.
if old and old ~= '0' then
    local sign, digits = string.match(old, '^(%-?)([1-9]%d*)$')
    local limit = sign == '-' and '9223372036854775808' or '9223372036854775807'
    if not sign or #digits > 19 or #digits == 19 and digits > limit then
        return redis.error_reply('ERR value is not an integer or out of range')
    end
end
local name = string.match(KEYS[1], '{(.*)}$')
local removed = redis.call('ZREM', KEYS[2], name)
local deleted = redis.pcall('DEL', KEYS[1], unpack(KEYS, 3))
if type(deleted) == 'table' then
    if removed == 1 then
        redis.pcall('ZADD', KEYS[2], 0, name)
    end
    return deleted
end
if deleted == 0 then
    -- A write, so that WAIT after a repeat waits for the first deletion.
    redis.pcall('SET', KEYS[1], '0')
    redis.call('DEL', KEYS[1])
end
return old
