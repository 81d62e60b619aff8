-- Counts a hit once for its token, however often and by whomever it is sent.
--
-- KEYS[2]: the token's record, which holds the amount, the sender and the answer
-- ARGV[1], ARGV[2]: the sender, a random word; the seconds that the record lives on
-- Answers the value, and 1 where another sender's hit had brought the counter to it.
local record = redis.call('GET', KEYS[2])
if record then
    local amount, sender, value = string.match(record, '^(%d+) (%w+) (%-?%d+)$')
    if amount ~= ARGV[3] then
        return redis.error_reply('TOKENREUSED the token stands for a hit of amount ' .. amount)
    end
    -- A write, so that WAITAOF and WAIT behind a repeat wait for what the first one wrote.
    redis.call('EXPIRE', KEYS[2], ARGV[2])
    return {value, sender == ARGV[1] and 0 or 1}
end
local value = count()
if type(value) == 'table' then
    return value
end
redis.call('SET', KEYS[2], ARGV[3] .. ' ' .. ARGV[1] .. ' ' .. value, 'EX', ARGV[2])
return {value, 0}
