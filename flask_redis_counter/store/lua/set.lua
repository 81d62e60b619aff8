-- Sets a counter. Replies with its old value, false if it did not exist. After an error reply
-- nothing was changed.
--
-- KEYS: the counter; the names of all counters
-- ARGV: the value; limit of the number of counters; 1 to fail if the counter exists
-- INCRBY 0 checks that the key holds an integer, before anything is changed.
-- The old value is the string of GET: a Lua number would lose digits beyond 2^53.
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
local added = redis.call('ZADD', KEYS[2], 0, name)
local reply = redis.pcall('SET', KEYS[1], ARGV[1])
if type(reply) == 'table' and reply.err then
    if added == 1 then
        redis.pcall('ZREM', KEYS[2], name)
    end
    return reply
end
publish(KEYS[2], ARGV[1])
return old
