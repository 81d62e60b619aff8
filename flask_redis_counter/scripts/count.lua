-- Counts: on the counter, and then on its day, its hour and its visitors of the day.
--
-- KEYS: the counter; a record of the script that calls this; the counter's days; the hours of
--       the day; the visitors of the day; their salt; the names of all counters
-- ARGV: one of that script's; the amount; the hour, as 2026-11-23T15; how many counters there
--       may be; and with visitors: a secret, and what each is known by

-- Seconds that a record lives on after its last use.
local LIFE = 86400

-- Answers what a visitor is known by today. The salt is kept out of the append-only file, and
-- lasts until the day ends.
local function disguised(visitor)
    local salt = redis.call('GET', KEYS[6])
    if not salt then
        salt = ARGV[5]
        local left = 86400 - redis.call('TIME')[1] % 86400
        redis.set_repl(redis.REPL_NONE)
        redis.pcall('SET', KEYS[6], salt, 'EX', left)
        redis.set_repl(redis.REPL_ALL)
    end
    return redis.sha1hex(salt .. visitor)
end

-- Remembers whom it has seen on the last day that had visitors, and of the days before it how
-- many there were.
local function meet(day, visitors)
    local last = redis.call('HGET', KEYS[3], 'last')
    if last and last > day then
        return
    end
    if last ~= day then
        if last then
            redis.call('HSET', KEYS[3], 'visitors:' .. last, redis.call('PFCOUNT', KEYS[5]))
        end
        redis.call('DEL', KEYS[5])
        redis.call('HSET', KEYS[3], 'last', day)
    end
    local seen = {}
    for i, visitor in ipairs(visitors) do
        seen[i] = disguised(visitor)
    end
    redis.call('PFADD', KEYS[5], unpack(seen))
end

local function describe(made, visitors)
    local amount, day, hour = ARGV[2], string.sub(ARGV[3], 1, 10), string.sub(ARGV[3], 12)
    local today = redis.call('HINCRBY', KEYS[3], day, amount)
    redis.call('HINCRBY', KEYS[4], hour, amount)
    if today == tonumber(amount) then
        redis.call('EXPIRE', KEYS[4], 8 * 86400)
    end
    -- Once a day, because another client may have made the counter.
    if made or today == tonumber(amount) then
        redis.call('ZADD', KEYS[7], 0, string.match(KEYS[1], '{(.*)}$'))
    end
    if visitors[1] then
        meet(day, visitors)
    end
end

-- Answers the value as a string; an error has changed nothing.
local function count(visitors)
    local limit = tonumber(ARGV[4])
    local made = redis.call('EXISTS', KEYS[1]) == 0
    if made and limit == 0 then
        return redis.error_reply('UNKNOWN there is no such counter, and a hit makes none')
    end
    if made and redis.call('ZCARD', KEYS[7]) >= limit then
        return redis.error_reply('TOOMANY there are as many counters as there may be')
    end
    local sum = redis.pcall('INCRBY', KEYS[1], ARGV[2])
    if type(sum) == 'table' then
        return sum
    end
    -- It has counted, and what describes it may not change that: not a key that holds something
    -- else, nor a day whose sum is too large.
    pcall(describe, made, visitors)
    -- A Lua number loses digits beyond 2^53; the key has them.
    local value = string.format('%.0f', sum)
    if #value > 15 then
        value = redis.call('GET', KEYS[1])
    end
    return value
end

