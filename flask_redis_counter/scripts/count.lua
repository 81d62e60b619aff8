-- Counts: on the counter, and then on its day, its hour and its visitors of the day.
--
-- KEYS: the counter; a record of the script that calls this; the counter's days; the hours of
--       the day; the visitors of the day; their salt; the names of all counters
-- ARGV: two of that script's; the amount; the hour, as 2026-11-23T15; how many counters there
--       may be; and with visitors: a secret, and what each is known by

-- Remembers whom it has seen on the last day that had visitors, and of the days before it how
-- many there were. The salt is kept out of the append-only file, and lasts until the day ends.
local function meet(day)
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
    local salt = redis.call('GET', KEYS[6])
    if not salt then
        salt = ARGV[6]
        local left = 86400 - redis.call('TIME')[1] % 86400
        redis.set_repl(redis.REPL_NONE)
        redis.pcall('SET', KEYS[6], salt, 'EX', left)
        redis.set_repl(redis.REPL_ALL)
    end
    local seen = {}
    for i = 7, #ARGV do
        seen[i - 6] = redis.sha1hex(salt .. ARGV[i])
    end
    redis.call('PFADD', KEYS[5], unpack(seen))
end

local function describe(made)
    local amount, day, hour = ARGV[3], string.sub(ARGV[4], 1, 10), string.sub(ARGV[4], 12)
    if made then
        redis.call('ZADD', KEYS[7], 0, string.match(KEYS[1], '{(.*)}$'))
    end
    local today = redis.call('HINCRBY', KEYS[3], day, amount)
    redis.call('HINCRBY', KEYS[4], hour, amount)
    if today == tonumber(amount) then
        redis.call('EXPIRE', KEYS[4], 8 * 86400)
        -- Of a counter that another client has made, too.
        redis.call('ZADD', KEYS[7], 0, string.match(KEYS[1], '{(.*)}$'))
    end
    if ARGV[7] then
        meet(day)
    end
end

-- Answers the value as a string; an error has changed nothing.
local function count()
    local limit = tonumber(ARGV[5])
    local made = redis.call('EXISTS', KEYS[1]) == 0
    if made and limit == 0 then
        return redis.error_reply('UNKNOWN there is no such counter, and a hit makes none')
    end
    if made and redis.call('ZCARD', KEYS[7]) >= limit then
        return redis.error_reply('TOOMANY there are as many counters as there may be')
    end
    local sum = redis.pcall('INCRBY', KEYS[1], ARGV[3])
    if type(sum) == 'table' then
        return sum
    end
    -- It has counted, and what describes it may not change that: not a key that holds something
    -- else, nor a day whose sum is too large.
    pcall(describe, made)
    -- A Lua number loses digits beyond 2^53; the key has them.
    local value = string.format('%.0f', sum)
    if #value > 15 then
        value = redis.call('GET', KEYS[1])
    end
    return value
end

