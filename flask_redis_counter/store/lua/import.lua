-- Takes over what a source says of a counter: once, however often it is sent.
--
-- KEYS: the counter; the names of all counters; what each source has brought; the counter's days;
--       the visitors of the last of them, who has told of them, and their salt; and where its
--       days are to go, their hours
-- ARGV: make, add or set; how many counters there may be; the source; what that is known to have
--       brought, or ''; what it has brought with this; the value, or what to add to it; today;
--       and for each day its date, its hits and its visitors or '', or what to add to them
-- Answers 1, and in a list with it what could not be recorded. Where the counter is not as the
-- sender believes it has changed nothing, and answers 0 if there is none, otherwise what the source
-- has brought, or ''. An error has changed nothing.
-- The sums are the sender's: a Lua number would lose digits beyond 2^53.
local verb, limit, source, before, after, amount, today = unpack(ARGV, 1, 7)
local there = redis.call('EXISTS', KEYS[1]) == 1
if there then
    local brought = redis.call('HGET', KEYS[3], source) or ''
    if verb == 'make' or brought ~= before then
        return brought
    end
elseif verb ~= 'make' then
    return 0
elseif redis.call('ZCARD', KEYS[2]) >= tonumber(limit) then
    return redis.error_reply('TOOMANY there are as many counters as there may be')
end
local old = there and redis.call('GET', KEYS[1])
if there then
    redis.call('INCRBY', KEYS[1], 0) -- fails where it is no integer
else
    redis.call('DEL', unpack(KEYS, 3)) -- what is left of a counter that was taken away
end
-- Redis does not undo a script that fails. So what the source has brought, without which a repeat
-- would bring it again, is written first, and taken back where the rest fails.
local name = string.match(KEYS[1], '{(.*)}$')
local named = redis.call('ZADD', KEYS[2], 0, name)
local done = redis.pcall('HSET', KEYS[3], source, after)
local failed = type(done) == 'table'
if not failed then
    if verb == 'add' then
        done = redis.pcall('INCRBY', KEYS[1], amount)
    else
        done = redis.pcall('SET', KEYS[1], amount)
    end
    failed = type(done) == 'table' and done.err
    if not failed and verb == 'set' and ARGV[8] then
        done = redis.pcall('DEL', unpack(KEYS, 4))
        failed = type(done) == 'table'
        if failed then
            redis.call('SET', KEYS[1], old)
        end
    end
    if failed then
        redis.call('HSET', KEYS[3], source, before)
        if before == '' then
            redis.pcall('HDEL', KEYS[3], source) -- the same, and tidier
        end
    end
end
if failed then
    if named == 1 then
        redis.pcall('ZREM', KEYS[2], name)
    end
    return done
end

local function describe(date, hits, visitors)
    redis.call('HINCRBY', KEYS[4], date, hits)
    if visitors == '' then
        return
    end
    if date < today and redis.call('HGET', KEYS[4], 'last') == date then
        -- They are counted to the end; what is added now must outlast that.
        redis.call('HSET', KEYS[4], 'visitors:' .. date, redis.call('PFCOUNT', KEYS[5]))
        redis.call('DEL', KEYS[5], KEYS[6])
        redis.call('HSET', KEYS[4], 'last', today)
    end
    redis.call('HINCRBY', KEYS[4], 'visitors:' .. date, visitors)
end

-- As with hits, what describes a counter may not change that it was taken over.
local skipped
for i = 8, #ARGV, 3 do
    local described, error = pcall(describe, unpack(ARGV, i, i + 2))
    if not described then
        skipped = 'days: ' .. (type(error) == 'table' and error.err or tostring(error))
    end
end
redis.pcall('PUBLISH', KEYS[1] .. ':live', redis.pcall('GET', KEYS[1]))
return skipped and {1, skipped} or 1
