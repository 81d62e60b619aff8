-- Counts a hit once for its token, however often and by whomever it is sent.
--
-- KEYS: the counter; the token's record, which holds the amount, the sender and the answer
-- ARGV: the amount; the sender, a random word; the seconds that the record lives on
-- Answers the value, and 1 where another sender's hit had brought the counter to it.
local record = redis.call('GET', KEYS[2])
if record then
    local amount, sender, value = string.match(record, '^(%d+) (%w+) (%-?%d+)$')
    if amount ~= ARGV[1] then
        return redis.error_reply('TOKENREUSED the token stands for a hit of amount ' .. amount)
    end
    -- A write, so that WAITAOF and WAIT behind a repeat wait for what the first one wrote.
    redis.call('EXPIRE', KEYS[2], ARGV[3])
    return {value, sender == ARGV[2] and 0 or 1}
end
-- A Lua number loses digits beyond 2^53; the key has them.
local value = string.format('%.0f', redis.call('INCRBY', KEYS[1], ARGV[1]))
if #value > 15 then
    value = redis.call('GET', KEYS[1])
end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. value, 'EX', ARGV[3])
return {value, 0}
