-- Tells the listeners of /live that the value of KEYS[1] has changed. Prepended to the scripts that
-- change one.

-- Returns the reply. names is the key of the names of all counters.
local function publish(names, value)
    -- On a cluster, where the key of the names belongs to the counter (local_key in keys.py), only
    -- the counter's nodes are told: PUBLISH would reach all. Before version 7, Redis has only that.
    if not string.find(names, '{}', 1, true) then
        local reply = redis.pcall('SPUBLISH', KEYS[1] .. ':live', value)
        if type(reply) ~= 'table' or not string.find(reply.err, 'Unknown', 1, true) then
            return reply
        end
    end
    return redis.pcall('PUBLISH', KEYS[1] .. ':live', value)
end

