-- Lists the name of a counter that is about to be created. After an error reply nothing was changed.
--
-- KEYS: the names of all counters
-- ARGV: the name; limit of the number of counters
if not redis.call('ZSCORE', KEYS[1], ARGV[1])
    and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return redis.error_reply('TOOMANY there are as many counters as there may be')
end
return redis.call('ZADD', KEYS[1], 0, ARGV[1])
