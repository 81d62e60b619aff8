-- Counts a hit once for its token, however often and by whomever it is sent.
--
-- KEYS[2]: the token's record, which holds the amount, the sender and the answer
-- ARGV[1]: the sender, a random word
-- Answers the value, and a digit: 0 where the hit has counted, 1 where another sender's had
-- brought the counter to that value, otherwise why it was left out; and where something of it
-- could not be recorded, what that was.
if record then
    local amount, sender, value = string.match(record, '^(%d+) (%w+) (%-?%d+)$')
    if amount ~= ARGV[2] then
        return redis.error_reply('TOKENREUSED the token stands for a hit of amount ' .. amount)
    end
    -- A write, so that WAITAOF and WAIT behind a repeat wait for what the first one wrote.
    redis.call('EXPIRE', KEYS[2], LIFE)
    return {value, sender == ARGV[1] and 0 or 1}
end
local amount, visitors, said = screened()
local value = count(amount, visitors, ARGV[2] .. ' ' .. ARGV[1] .. ' ', '')
if type(value) == 'table' then
    return value
end
return {value, tonumber(said) or 0, skipped}
