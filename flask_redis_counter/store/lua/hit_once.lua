-- Counts a hit once for its idempotency key, however often and by any sender it is sent.
--
-- KEYS[2]: the idempotency key's record: the amount, the sender and the value
-- ARGV[1]: the sender, a random word; optionally a colon and the percentage of the store's memory
--          limit at which new idempotency keys are rejected
-- Replies with the value and a digit: 0 if the hit counted, 1 if the hit of another sender with the
-- same key had counted, otherwise the verdict; and if a detail could not be recorded, its name and
-- error.
if record then
    local amount, sender, value = string.match(record, '^(%d+) (%S+) (%-?%d+)$')
    if amount ~= ARGV[2] then
        return redis.error_reply('TOKENREUSED the token stands for a hit of amount ' .. amount)
    end
    -- A write, so that WAITAOF and WAIT after a repeat wait for the first hit's writes.
    redis.call('EXPIRE', KEYS[2], LIFE)
    return {value, sender == ARGV[1] and 0 or 1}
end
local amount, visitors, verdict = screen()
local share = amount and string.match(ARGV[1], ':(%d+)$')
if share then
    -- INFO takes as long as the rest of this script, so its result is cached for 100 ms.
    local key = string.sub(KEYS[5], 1, -6) .. 'room'
    local has_room = redis.call('GET', key)
    if not has_room then
        local info = redis.pcall('INFO', 'memory')
        has_room = '1' -- even if INFO does not report the memory in use
        if type(info) == 'string' then
            local used = string.match(info, '\nused_memory:(%d+)') or 0
            local limit = tonumber(string.match(info, '\nmaxmemory:(%d+)') or 0)
            has_room = limit > 0 and used * 100 >= limit * share and '0' or has_room
            redis.pcall('SET', key, has_room, 'PX', 100)
        end
    end
    if has_room == '0' then
        return redis.error_reply('NOROOM the memory for tokens is full')
    end
end
local value = count(amount, visitors, ARGV[2] .. ' ' .. ARGV[1] .. ' ', '')
if type(value) == 'table' then
    return value
end
return {value, tonumber(verdict) or 0, skipped}
