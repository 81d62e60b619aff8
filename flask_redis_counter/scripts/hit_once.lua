-- Counts a hit once for its token, however often and by whomever it is sent.
--
-- KEYS[2]: the token's record, which holds the amount, the sender and the answer
-- ARGV[1]: the sender, a random word; and where tokens may not take all memory, behind a colon the
--          percentage of the store's limit from which on a new one is refused
-- Answers the value, and a digit: 0 where the hit has counted, 1 where another sender's had
-- brought the counter to that value, otherwise why it was left out; and where something of it
-- could not be recorded, what that was.
local sender, share = string.match(ARGV[1], '^(%w+):?(%d*)$')

-- Whether the store uses less than the share. INFO takes as long as the rest of this script, so its
-- answer holds for a tenth of a second.
local function has_room()
    local key = string.gsub(KEYS[5], 'names$', 'room')
    local known = redis.call('GET', key)
    if known then
        return known == '1'
    end
    local info = redis.pcall('INFO', 'memory')
    if type(info) ~= 'string' then
        return true -- nothing says how full it is
    end
    local used = string.match(info, '\nused_memory:(%d+)') or 0
    local limit = tonumber(string.match(info, '\nmaxmemory:(%d+)') or 0)
    local room = limit == 0 or used * 100 < limit * share
    if redis.set_repl then
        redis.set_repl(redis.REPL_NONE)
    end
    redis.pcall('SET', key, room and '1' or '0', 'PX', 100)
    if redis.set_repl then
        redis.set_repl(redis.REPL_ALL)
    end
    return room
end

if record then
    local amount, counted_by, value = string.match(record, '^(%d+) (%w+) (%-?%d+)$')
    if amount ~= ARGV[2] then
        return redis.error_reply('TOKENREUSED the token stands for a hit of amount ' .. amount)
    end
    -- A write, so that WAITAOF and WAIT behind a repeat wait for what the first one wrote.
    redis.call('EXPIRE', KEYS[2], LIFE)
    return {value, counted_by == sender and 0 or 1}
end
local amount, visitors, said = screened()
if amount and share ~= '' and not has_room() then
    return redis.error_reply('NOROOM the memory for tokens is full')
end
local value = count(amount, visitors, ARGV[2] .. ' ' .. sender .. ' ', '')
if type(value) == 'table' then
    return value
end
return {value, tonumber(said) or 0, skipped}
