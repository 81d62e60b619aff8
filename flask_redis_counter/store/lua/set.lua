-- Sets a counter and answers the value that it had, false where there was none. An error has
-- changed nothing.
--
-- KEYS: the counter; the names of all counters
-- ARGV: the value; how many counters there may be; 1 to leave one alone that is there
-- INCRBY 0 is the test for an integer: it fails before anything is changed.
-- The old value goes back as the string that GET gives: a Lua number would lose digits beyond 2^53.
local old = redis.call('GET', KEYS[1])
if old then
    redis.call('INCRBY', KEYS[1], 0)
    if ARGV[3] == '1' then
        return redis.error_reply('EXISTING there is such a counter')
    end
elseif redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[2]) then
    return redis.error_reply('TOOMANY there are as many counters as there may be')
end
local name = string.match(KEYS[1], '{(.*)}$')
local named = redis.call('ZADD', KEYS[2], 0, name)
local kept = redis.pcall('SET', KEYS[1], ARGV[1])
if type(kept) == 'table' and kept.err then
    if named == 1 then
        redis.pcall('ZREM', KEYS[2], name)
    end
    return kept
end
redis.pcall('PUBLISH', KEYS[1] .. ':live', ARGV[1])
return old
