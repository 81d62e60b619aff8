-- Counts a hit once for its token, however often and by whomever it is sent.
--
-- KEYS[2]: the token's record, which holds the amount, the sender and the answer
-- ARGV[1]: the sender, a random word; and where tokens may not take all memory, behind a colon the
--          percentage of the store's limit from which on a new one is refused
-- Answers the value, and a digit: 0 where the hit has counted, 1 where another sender's had
-- brought the counter to that value, otherwise why it was left out; and where something of it
-- could not be recorded, what that was.
if record then
    local amount, sender, value = string.match(record, '^(%d+) (%S+) (%-?%d+)$')
    if amount ~= ARGV[2] then
        return redis.error_reply('TOKENREUSED the token stands for a hit of amount ' .. amount)
    end
    -- A write, so that WAITAOF and WAIT behind a repeat wait for what the first one wrote.
    redis.call('EXPIRE', KEYS[2], LIFE)
    return {value, sender == ARGV[1] and 0 or 1}
end
local amount, visitors, said = screened()
local share = amount and string.match(ARGV[1], ':(%d+)$')
if share then
    -- INFO takes as long as the rest of this script, so its answer holds for a tenth of a second.
    local key = string.sub(KEYS[5], 1, -6) .. 'room'
    local room = redis.call('GET', key)
    if not room then
        local info = redis.pcall('INFO', 'memory')
        room = '1' -- also where nothing says how full it is
        if type(info) == 'string' then
            local used = string.match(info, '\nused_memory:(%d+)') or 0
            local limit = tonumber(string.match(info, '\nmaxmemory:(%d+)') or 0)
            room = limit > 0 and used * 100 >= limit * share and '0' or room
            redis.pcall('SET', key, room, 'PX', 100)
        end
    end
    if room == '0' then
        return redis.error_reply('NOROOM the memory for tokens is full')
    end
end
local value = count(amount, visitors, ARGV[2] .. ' ' .. ARGV[1] .. ' ', '')
if type(value) == 'table' then
    return value
end
return {value, tonumber(said) or 0, skipped}
