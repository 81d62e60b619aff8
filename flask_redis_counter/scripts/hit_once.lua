-- Counts a hit once for its token, however often and by whomever it is sent; and, where that is
-- asked for, a visitor once in a while.
--
-- KEYS[2]: the token's record, which holds the amount, the sender and the answer
-- KEYS[8]: whom the counter has counted when, where a visitor counts once in a while
-- ARGV[1]: the sender, a random word
-- ARGV[7]: the seconds that this while is long; the visitor is ARGV[6]
-- Answers the value, and 1 where another sender's hit had brought the counter to it, 2 where the
-- visitor was counted before.
local record = redis.call('GET', KEYS[2])
if record then
    local amount, sender, value = string.match(record, '^(%d+) (%w+) (%-?%d+)$')
    if amount ~= ARGV[2] then
        return redis.error_reply('TOKENREUSED the token stands for a hit of amount ' .. amount)
    end
    -- A write, so that WAITAOF and WAIT behind a repeat wait for what the first one wrote.
    redis.call('EXPIRE', KEYS[2], LIFE)
    return {value, sender == ARGV[1] and 0 or 1}
end
local now = tonumber(redis.call('TIME')[1])
local visitor = KEYS[8] and disguised(ARGV[6])
if visitor then
    local counted = redis.call('ZSCORE', KEYS[8], visitor)
    if counted and now - counted < tonumber(ARGV[7]) then
        return {redis.call('GET', KEYS[1]) or '0', 2}
    end
end
local value = count({ARGV[6]})
if type(value) == 'table' then
    return value
end
redis.call('SET', KEYS[2], ARGV[2] .. ' ' .. ARGV[1] .. ' ' .. value, 'EX', LIFE)
if visitor then
    redis.pcall('ZREMRANGEBYSCORE', KEYS[8], '-inf', now - ARGV[7])
    redis.pcall('ZADD', KEYS[8], now, visitor)
    redis.pcall('EXPIRE', KEYS[8], ARGV[7])
end
return {value, 0}
