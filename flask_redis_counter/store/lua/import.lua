-- Imports a counter from a source: once, however often it is sent.
--
-- KEYS: the counter; the names of all counters; its imports by source; its days; the visitors of
--       the last day, the marks of the processes that reported them, and their salt; for "set", the
--       hours of its days
-- ARGV: make, add or set; limit of the number of counters; the source; the expected import of that
--       source, or ''; the new import; the value, or the amount to add; today; for each day its
--       date, its hits, and its visitors or '' (for "add": the numbers to add)
-- Replies with 1, or a list of 1 and the detail that could not be recorded. If the counter is not
-- in the expected state, changes nothing and replies with 0 if it does not exist, otherwise with
-- the import of the source, or ''. After an error reply nothing was changed.
-- The sender computes the sums: a Lua number would lose digits beyond 2^53.
local action, limit, source, before, after, amount, today = unpack(ARGV, 1, 7)
local exists = redis.call('EXISTS', KEYS[1]) == 1
if exists then
    local imported = redis.call('HGET', KEYS[3], source) or ''
    if action == 'make' or imported ~= before then
        if imported ~= '' then
            -- A write, so that WAIT after a repeat waits for the first import.
            redis.pcall('HSET', KEYS[3], source, imported)
        end
        return imported
    end
elseif action ~= 'make' then
    return 0
elseif redis.call('ZCARD', KEYS[2]) >= tonumber(limit) then
    return redis.error_reply('TOOMANY there are as many counters as there may be')
end
local old = exists and redis.call('GET', KEYS[1])
if exists then
    redis.call('INCRBY', KEYS[1], 0) -- fails if it is not an integer
else
    redis.call('DEL', unpack(KEYS, 3)) -- remains of a counter whose key was removed
end
-- Redis does not roll back a script that fails. So the import, without which a repeat would be
-- added again, is written first, and undone if the rest fails.
local name = string.match(KEYS[1], '{(.*)}$')
local added = redis.call('ZADD', KEYS[2], 0, name)
local reply = redis.pcall('HSET', KEYS[3], source, after)
local failed = type(reply) == 'table'
if not failed then
    if action == 'add' then
        reply = redis.pcall('INCRBY', KEYS[1], amount)
    else
        reply = redis.pcall('SET', KEYS[1], amount)
    end
    failed = type(reply) == 'table' and reply.err
    if not failed and action == 'set' and ARGV[8] then
        reply = redis.pcall('DEL', unpack(KEYS, 4))
        failed = type(reply) == 'table'
        if failed then
            redis.call('SET', KEYS[1], old)
        end
    end
    if failed then
        redis.call('HSET', KEYS[3], source, before)
        if before == '' then
            redis.pcall('HDEL', KEYS[3], source) -- cleaner than an empty field, if it works
        end
    end
end
if failed then
    if added == 1 then
        redis.pcall('ZREM', KEYS[2], name)
    end
    return reply
end

local function add_day(date, hits, visitors)
    redis.call('HINCRBY', KEYS[4], date, hits)
    if visitors == '' then
        return
    end
    if date < today and redis.call('HGET', KEYS[4], 'last') == date then
        -- The day is over: store its number of visitors, to which this import adds more.
        redis.call('HSET', KEYS[4], 'visitors:' .. date, redis.call('PFCOUNT', KEYS[5]))
        redis.call('DEL', KEYS[5], KEYS[6])
        redis.call('HSET', KEYS[4], 'last', today)
    end
    redis.call('HINCRBY', KEYS[4], 'visitors:' .. date, visitors)
end

-- As with hits, a detail that cannot be recorded does not undo the import.
local skipped
for i = 8, #ARGV, 3 do
    local ok, error = pcall(add_day, unpack(ARGV, i, i + 2))
    if not ok then
        skipped = 'days: ' .. (type(error) == 'table' and error.err or tostring(error))
    end
end
publish(KEYS[2], redis.pcall('GET', KEYS[1]))
return skipped and {1, skipped} or 1
