-- Takes over what a source says of a counter: once, however often it is sent.
--
-- KEYS: the counter; the names of all counters; what each source has brought; the counter's days;
--       the visitors of the last of them, who has told of them, and their salt; and where its
--       days are to go, their hours
-- ARGV: make, add or set; how many counters there may be; the source; what that is known to have
--       brought, or ''; what it has brought with this; the value, or what to add to it; today;
--       and for each day its date, its hits and its visitors or '', or what to add to them
-- Answers 1. Where the counter is not as the sender believes it has changed nothing, and answers 0
-- if there is none, otherwise what the source has brought, or ''.
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
if verb == 'add' then
    redis.call('INCRBY', KEYS[1], amount) -- an error of it has changed nothing
else
    if there then
        redis.call('INCRBY', KEYS[1], 0) -- fails where it is no integer
    end
    if not there then
        redis.call('DEL', unpack(KEYS, 3))
    elseif ARGV[8] then
        redis.call('DEL', unpack(KEYS, 4))
    end
    redis.call('SET', KEYS[1], amount)
end
redis.call('HSET', KEYS[3], source, after)
redis.call('ZADD', KEYS[2], 0, string.match(KEYS[1], '{(.*)}$'))

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
for i = 8, #ARGV, 3 do
    pcall(describe, unpack(ARGV, i, i + 2))
end
redis.pcall('PUBLISH', KEYS[1] .. ':live', redis.call('GET', KEYS[1]))
return 1
