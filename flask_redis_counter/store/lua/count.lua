-- Counts: on the counter, and then on its day, its hour and its visitors of the day.
--
-- KEYS: the counter; a record of the script that calls this; the counter's days; the hours of
--       the day; the names of all counters; where a process leaves out visitors of which it has
--       told, or tells of some, the mark of each process that has; where it tells, the visitors of
--       the day and their salt; and where hits are screened, whom the counter has counted when, and
--       when each client has used up its rate
-- ARGV: one of that script's; the amount; the hour, as 2026-11-23T15; how many counters there
--       may be; with a sixth key that process, or '', and its mark. Where it tells of visitors: 1
--       where it leaves out others, 0 where the mark is a new one; a secret; and what each visitor
--       is known by. Where hits are screened, instead of the latter: the longest of the whiles
--       below, the seconds that a client waits for its next hit, how many seconds it may be ahead,
--       and for each hit its visitor or '', its amount, the while in which the visitor counts once
--       or 0, and its client or ''

-- Seconds that a record lives on after its last use.
local LIFE = 86400

-- REPLY_DIGITS in outcome.py.
local COUNTED, DUPLICATE, RATE_LIMITED = '0', '2', '3'

-- What the counter stands at, false where it does not, or holds something else; and the record.
local before, record = unpack(redis.call('MGET', KEYS[1], KEYS[2]))

-- The first part of what describes a hit that could not be recorded, and the error.
local skipped

local function skip(part, error)
    skipped = skipped or part .. ': ' .. (type(error) == 'table' and error.err or tostring(error))
end

-- What only some hits need is made for those: a function takes as long as a tenth of a command.
local names, counted_at, used_up, now = {}, {}, {}, nil
local screened, meet, remember, disguised, replicate

if KEYS[7] then
    -- Keeps what follows out of the append-only file, or lets it in again. Compatible servers may
    -- lack the function.
    function replicate(whether)
        if redis.set_repl then
            redis.set_repl(whether and redis.REPL_ALL or redis.REPL_NONE)
        end
    end

    -- Answers what a visitor is known by today. The salt is kept out of the append-only file, and
    -- lasts until the day ends.
    function disguised(visitor)
        if names[visitor] then
            return names[visitor]
        end
        local salt = redis.call('GET', KEYS[8])
        if not salt then
            salt = ARGV[8]
            local left = 86400 - redis.call('TIME')[1] % 86400
            replicate(false)
            local kept = redis.pcall('SET', KEYS[8], salt, 'EX', left)
            replicate(true)
            if type(kept) == 'table' and kept.err then
                error(kept.err, 0)
            end
        end
        names[visitor] = redis.sha1hex(salt .. visitor)
        return names[visitor]
    end

    -- Remembers whom it has seen on the last day that had visitors, and of the days before it how
    -- many there were.
    function meet(day, visitors)
        local last = redis.call('HGET', KEYS[3], 'last')
        if last and last > day then
            return
        end
        if last ~= day then
            if last then
                redis.call('HSET', KEYS[3], 'visitors:' .. last, redis.call('PFCOUNT', KEYS[7]))
            end
            redis.call('DEL', KEYS[7], KEYS[6])
            redis.call('HSET', KEYS[3], 'last', day)
        end
        for i, visitor in ipairs(visitors) do
            visitors[i] = disguised(visitor)
        end
        redis.call('PFADD', KEYS[7], unpack(visitors))
        if ARGV[5] ~= '' and ARGV[7] == '0' then
            redis.call('HSET', KEYS[6], ARGV[5], ARGV[6])
            redis.call('EXPIRE', KEYS[6], LIFE)
        end
    end
end

if KEYS[9] then
    -- Whether a client comes too often, and if not, that it has come: the generic cell rate
    -- algorithm (ITU-T I.371), with the time at which its hits so far are used up.
    local function comes_too_often(client)
        local interval, ahead = tonumber(ARGV[10]), tonumber(ARGV[11])
        local free = used_up[client] or tonumber(redis.call('ZSCORE', KEYS[10], client) or 0)
        free = math.max(free, now) + interval
        if free - now > ahead + 0.000001 then
            return true
        end
        used_up[client] = free
        return false
    end

    -- Decides which hits count. Answers the sum of their amounts, nil where there is none, their
    -- visitors, and a digit for each hit.
    function screened()
        local time = redis.call('TIME')
        now = time[1] + time[2] / 1000000
        local sum, visitors, said = 0, {}, ''
        for i = 12, #ARGV, 4 do
            local visitor, amount, once_in, client = unpack(ARGV, i, i + 3)
            local name = once_in ~= '0' and disguised(visitor)
            local verdict = COUNTED
            if once_in ~= '0' then
                local last = counted_at[name] or redis.call('ZSCORE', KEYS[9], name)
                if last and now - last < tonumber(once_in) then
                    verdict = DUPLICATE
                end
            end
            if verdict == COUNTED and client ~= '' and comes_too_often(client) then
                verdict = RATE_LIMITED
            end
            if verdict == COUNTED then
                sum = sum + amount
                if visitor ~= '' then
                    visitors[#visitors + 1] = visitor
                end
                if once_in ~= '0' then
                    counted_at[name] = now
                end
            end
            said = said .. verdict
        end
        if not string.find(said, COUNTED, 1, true) then
            return nil, visitors, said
        elseif not string.find(said, '[^' .. COUNTED .. ']') then
            return ARGV[2], visitors, said -- with all its digits
        end
        return string.format('%.0f', sum), visitors, said
    end

    -- Keeps what the next screening asks for. What clients use up is of no interest to a disk.
    function remember()
        if next(counted_at) then
            for visitor, at in pairs(counted_at) do
                redis.call('ZADD', KEYS[9], at, visitor)
            end
            redis.call('ZREMRANGEBYSCORE', KEYS[9], '-inf', now - ARGV[9])
            redis.call('EXPIRE', KEYS[9], ARGV[9])
        end
        if next(used_up) then
            replicate(false)
            for client, at in pairs(used_up) do
                redis.call('ZADD', KEYS[10], at, client)
            end
            redis.call('ZREMRANGEBYSCORE', KEYS[10], '-inf', now)
            replicate(true)
        end
    end
else
    function screened()
        return ARGV[2], {unpack(ARGV, 9)}, ''
    end
end

-- Records what describes a hit that has counted. Nothing in here may end in an error.
local function describe(amount, visitors, made, value)
    local day, hour = string.sub(ARGV[3], 1, 10), string.sub(ARGV[3], 12)
    local today = redis.pcall('HINCRBY', KEYS[3], day, amount)
    local this_hour = redis.pcall('HINCRBY', KEYS[4], hour, amount)
    local first = today == tonumber(amount)
    if type(today) == 'table' or type(this_hour) == 'table' then
        skip('days', type(today) == 'table' and today or this_hour)
    end
    if first then
        local kept = redis.pcall('EXPIRE', KEYS[4], 8 * 86400)
        if type(kept) == 'table' then
            skip('days', kept)
        end
    end
    -- Once a day, because another client may have made the counter.
    if made or first then
        local kept = redis.pcall('ZADD', KEYS[5], 0, string.match(KEYS[1], '{(.*)}$'))
        if type(kept) == 'table' then
            skip('names', kept)
        end
    end
    if visitors[1] then
        local done, error = pcall(meet, day, visitors)
        if not done then
            skip('visitors', error)
        end
    end
    if remember then
        local done, error = pcall(remember)
        if not done then
            replicate(true)
            skip('rates and reloads', error)
        end
    end
    -- For the listeners of /live; without any it costs half a microsecond.
    local published = redis.pcall('PUBLISH', KEYS[1] .. ':live', value)
    if type(published) == 'table' then
        skip('live', published)
    end
end

-- Counts, and writes the record: the value between two texts. Answers the value as a string; an
-- error has changed nothing.
--
-- Redis does not undo a script that fails. So the record, without which a repeat would count
-- again, comes first, and where it fails the same command takes the increment back.
local function count(amount, visitors, before_value, after_value)
    if not amount then
        return redis.call('GET', KEYS[1]) or '0'
    end
    -- The mark is gone when the visitors are: the counter was deleted, the store restored.
    if KEYS[6] and (ARGV[7] or '1') == '1' then
        local mark = redis.pcall('HGET', KEYS[6], ARGV[5])
        if mark ~= ARGV[6] and type(mark) ~= 'table' then
            return redis.error_reply('FORGOTTEN the visitors that were left out are not here')
        end
    end
    local limit = tonumber(ARGV[4])
    local made = not before and redis.call('EXISTS', KEYS[1]) == 0
    if made and limit == 0 then
        return redis.error_reply('UNKNOWN there is no such counter, and a hit makes none')
    end
    if made and redis.call('ZCARD', KEYS[5]) >= limit then
        return redis.error_reply('TOOMANY there are as many counters as there may be')
    end
    local sum = redis.pcall('INCRBY', KEYS[1], amount)
    if type(sum) == 'table' then
        return sum
    end
    -- A Lua number loses digits beyond 2^53; the key has them.
    local value = string.format('%.0f', sum)
    if #value > 15 then
        value = redis.pcall('GET', KEYS[1])
    end
    local kept = value
    if type(value) ~= 'table' then
        kept = redis.pcall('SET', KEYS[2], before_value .. value .. after_value, 'EX', LIFE)
    end
    if type(kept) == 'table' and kept.err then
        redis.call('INCRBY', KEYS[1], '-' .. amount)
        if made then
            redis.pcall('DEL', KEYS[1])
        end
        return kept
    end
    describe(amount, visitors, made, value)
    return value
end
