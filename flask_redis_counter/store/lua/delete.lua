-- Deletes a counter and what describes it; answers the value that it had, false where there was
-- none. What keeps a repeated hit from counting twice stays. An error has changed nothing.
--
-- KEYS: the counter; the names of all counters; all else that is to go
local old = redis.call('GET', KEYS[1])
-- Not INCRBY 0, which a store that is full refuses: deleting is what makes room.
if old and old ~= '0' then
    local sign, digits = string.match(old, '^(%-?)([1-9]%d*)$')
    local most = sign == '-' and '9223372036854775808' or '9223372036854775807'
    if not sign or #digits > 19 or #digits == 19 and digits > most then
        return redis.error_reply('ERR value is not an integer or out of range')
    end
end
local name = string.match(KEYS[1], '{(.*)}$')
local named = redis.call('ZREM', KEYS[2], name)
local gone = redis.pcall('DEL', KEYS[1], unpack(KEYS, 3))
if type(gone) == 'table' then
    if named == 1 then
        redis.pcall('ZADD', KEYS[2], 0, name)
    end
    return gone
end
return old
