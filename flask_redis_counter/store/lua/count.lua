-- Counts on a counter, and on its day, its hour and its visitors of the day. Prepended to hit.lua
-- and hit_once.lua, which call count().
--
-- KEYS: 1  the counter
--       2  the record of the calling script
--       3  days
--       4  hours of the day
--       5  names of all counters
--       6  marks of the processes that have reported visitors (if the process caches visitors)
--       7  visitors of the day, 8 their salt (if visitors are reported, or hits are screened)
--       9  when each visitor was counted, 10 arrival times of the clients (if hits are screened)
-- ARGV: 1  an argument of the calling script
--       2  the amount
--       3  the hour: 2026-11-23T15
--       4  limit of the number of counters
--       5  the process, or '', 6 its mark (with KEYS[6])
--       7  1 if visitors that were reported with the mark are omitted, 0 if the mark is new (with
--          KEYS[7])
--       8  a candidate for the salt (with KEYS[7])
--       9… the visitors. If hits are screened instead:
--       9  the longest visitor window, in seconds
--       10 seconds per hit of the rate limit
--       11 the rate limit's burst, in seconds
--       12… for each hit four: the visitor or '', the amount, the visitor window in seconds or 0,
--          the client or ''

-- Seconds after which a record expires, counted from its last use.
local LIFE = 86400

-- REPLY_DIGITS in outcome.py.
local COUNTED, DUPLICATE, RATE_LIMITED = '0', '2', '3'

-- The counter's value (false if it does not exist, or has another type), and the record.
local before, record = unpack(redis.call('MGET', KEYS[1], KEYS[2]))

-- The first detail of a hit that could not be recorded, with its error.
local skipped

local function add_skipped(part, error)
    skipped = skipped or part .. ': ' .. (type(error) == 'table' and error.err or tostring(error))
end

-- Functions that few hits need are created only for those: creating one takes a tenth of a
-- command's time.
local hashes, counted_at, arrivals, now = {}, {}, {}, nil
local screen, add_visitors, save_screening, hash_visitor, replicate

if KEYS[7] then
    -- Turns replication and the append-only file off or on for the next commands. Compatible
    -- servers may lack set_repl.
    function replicate(enabled)
        if redis.set_repl then
            redis.set_repl(enabled and redis.REPL_ALL or redis.REPL_NONE)
        end
    end

    -- Returns the salted hash of a visitor. The salt is not written to the append-only file, and
    -- expires when the day ends.
    function hash_visitor(visitor)
        if hashes[visitor] then
            return hashes[visitor]
        end
        local salt = redis.call('GET', KEYS[8])
        if not salt then
            salt = ARGV[8]
            local left = 86400 - redis.call('TIME')[1] % 86400
            replicate(false)
            local reply = redis.pcall('SET', KEYS[8], salt, 'EX', left)
            replicate(true)
            if type(reply) == 'table' and reply.err then
                error(reply.err, 0)
            end
        end
        hashes[visitor] = redis.sha1hex(salt .. visitor)
        return hashes[visitor]
    end

    -- Adds visitors to the HyperLogLog of the last day that had any. When a new day begins, the
    -- number of the last one is stored first.
    function add_visitors(day, visitors)
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
            visitors[i] = hash_visitor(visitor)
        end
        redis.call('PFADD', KEYS[7], unpack(visitors))
        if ARGV[5] ~= '' and ARGV[7] == '0' then
            redis.call('HSET', KEYS[6], ARGV[5], ARGV[6])
            redis.call('EXPIRE', KEYS[6], LIFE)
        end
    end
end

if KEYS[9] then
    -- Returns whether a client exceeds its rate limit, and if not, records its hit: generic
    -- cell rate algorithm (ITU-T I.371), with the theoretical arrival time of its next hit.
    local function exceeds_rate(client)
        local interval, burst = tonumber(ARGV[10]), tonumber(ARGV[11])
        local arrival = arrivals[client] or tonumber(redis.call('ZSCORE', KEYS[10], client) or 0)
        arrival = math.max(arrival, now) + interval
        if arrival - now > burst + 0.000001 then
            return true
        end
        arrivals[client] = arrival
        return false
    end

    -- Decides which hits count. Returns the sum of their amounts (nil if none counts), their
    -- visitors, and a digit for each hit.
    function screen()
        local time = redis.call('TIME')
        now = time[1] + time[2] / 1000000
        local sum, visitors, verdicts = 0, {}, ''
        for i = 12, #ARGV, 4 do
            local visitor, amount, window, client = unpack(ARGV, i, i + 3)
            local hash = window ~= '0' and hash_visitor(visitor)
            local verdict = COUNTED
            if window ~= '0' then
                local last = counted_at[hash] or redis.call('ZSCORE', KEYS[9], hash)
                if last and now - last < tonumber(window) then
                    verdict = DUPLICATE
                end
            end
            if verdict == COUNTED and client ~= '' and exceeds_rate(client) then
                verdict = RATE_LIMITED
            end
            if verdict == COUNTED then
                sum = sum + amount
                if visitor ~= '' then
                    visitors[#visitors + 1] = visitor
                end
                if window ~= '0' then
                    counted_at[hash] = now
                end
            end
            verdicts = verdicts .. verdict
        end
        if not string.find(verdicts, COUNTED, 1, true) then
            return nil, visitors, verdicts
        elseif not string.find(verdicts, '[^' .. COUNTED .. ']') then
            return ARGV[2], visitors, verdicts -- a Lua number may lose digits
        end
        return string.format('%.0f', sum), visitors, verdicts
    end

    -- Stores the state for the next screening. Arrival times are not written to disk.
    function save_screening()
        if next(counted_at) then
            for visitor, at in pairs(counted_at) do
                redis.call('ZADD', KEYS[9], at, visitor)
            end
            redis.call('ZREMRANGEBYSCORE', KEYS[9], '-inf', now - ARGV[9])
            redis.call('EXPIRE', KEYS[9], ARGV[9])
        end
        if next(arrivals) then
            replicate(false)
            for client, at in pairs(arrivals) do
                redis.call('ZADD', KEYS[10], at, client)
            end
            redis.call('ZREMRANGEBYSCORE', KEYS[10], '-inf', now)
            replicate(true)
        end
    end
else
    function screen()
        return ARGV[2], {unpack(ARGV, 9)}, ''
    end
end

-- Records the details of a hit that has counted. It must not raise errors.
local function record_details(amount, visitors, created, value)
    local day, hour = string.sub(ARGV[3], 1, 10), string.sub(ARGV[3], 12)
    local today = redis.pcall('HINCRBY', KEYS[3], day, amount)
    local this_hour = redis.pcall('HINCRBY', KEYS[4], hour, amount)
    local first = today == tonumber(amount)
    if type(today) == 'table' or type(this_hour) == 'table' then
        add_skipped('days', type(today) == 'table' and today or this_hour)
    end
    if first then
        local reply = redis.pcall('EXPIRE', KEYS[4], 8 * 86400)
        if type(reply) == 'table' then
            add_skipped('days', reply)
        end
    end
    -- Once a day, because another client may have created the counter.
    if created or first then
        local reply = redis.pcall('ZADD', KEYS[5], 0, string.match(KEYS[1], '{(.*)}$'))
        if type(reply) == 'table' then
            add_skipped('names', reply)
        end
    end
    if visitors[1] then
        local ok, error = pcall(add_visitors, day, visitors)
        if not ok then
            add_skipped('visitors', error)
        end
    end
    if save_screening then
        local ok, error = pcall(save_screening)
        if not ok then
            replicate(true)
            add_skipped('rates and reloads', error)
        end
    end
    -- For the listeners of /live; half a microsecond if there are none.
    local published = publish(KEYS[5], value)
    if type(published) == 'table' then
        add_skipped('live', published)
    end
end

-- Counts, and writes the record: before_value, the value, after_value. Returns the value as a
-- string, or an error reply that has changed nothing.
--
-- Redis does not roll back a script that fails. So the record, without which a repeat would count
-- again, is written right after the increment; if that fails, the increment is undone.
local function count(amount, visitors, before_value, after_value)
    if not amount then
        return redis.call('GET', KEYS[1]) or '0'
    end
    -- The mark disappears with the visitors: the counter was deleted, or the store restored.
    if KEYS[6] and (ARGV[7] or '1') == '1' then
        local mark = redis.pcall('HGET', KEYS[6], ARGV[5])
        if mark ~= ARGV[6] and type(mark) ~= 'table' then
            return redis.error_reply('FORGOTTEN the visitors that the hit omits are not stored')
        end
    end
    local limit = tonumber(ARGV[4])
    local created = not before and redis.call('EXISTS', KEYS[1]) == 0
    if created and limit == 0 then
        return redis.error_reply('UNKNOWN there is no such counter, and a hit makes none')
    end
    if created and redis.call('ZCARD', KEYS[5]) >= limit then
        return redis.error_reply('TOOMANY there are as many counters as there may be')
    end
    local sum = redis.pcall('INCRBY', KEYS[1], amount)
    if type(sum) == 'table' then
        return sum
    end
    -- A Lua number loses digits beyond 2^53; GET does not.
    local value = string.format('%.0f', sum)
    if #value > 15 then
        value = redis.pcall('GET', KEYS[1])
    end
    local reply = value
    if type(value) ~= 'table' then
        reply = redis.pcall('SET', KEYS[2], before_value .. value .. after_value, 'EX', LIFE)
    end
    if type(reply) == 'table' and reply.err then
        redis.call('INCRBY', KEYS[1], '-' .. amount)
        if created then
            redis.pcall('DEL', KEYS[1])
        end
        return reply
    end
    record_details(amount, visitors, created, value)
    return value
end
