-- Counts a batch of hits once, however often it is sent: each writer numbers its batches, and a
-- repeated number gets the first reply (RIFL, Lee et al., SOSP 2015).
--
-- KEYS[2]: the writer's record: its last number, and the reply to it
-- ARGV[1]: the batch's identity: its number, a colon and a random word, which differs in a copied
--          process. Then, optionally, a colon and the number of an earlier batch of this writer that
--          was acknowledged: if it is not stored, the store has lost it, and this batch must not hide
--          that
-- Replies with VALUE[:DIGITS][ SKIPPED]: DIGITS has the verdict on each hit if hits are screened,
-- SKIPPED names a detail that could not be recorded, with the error.
local identity, earlier = string.match(ARGV[1], '^([^:]*:?[^:]*):?(%d*)$')
local last
if record then
    local batch, answer = string.match(record, '^(%S+) (%S+)$')
    if batch == identity and answer == 'refused' then
        return redis.error_reply('ERR increment or decrement would overflow')
    end
    if batch == identity then
        -- A write, so that WAITAOF and WAIT after a repeat wait for the first batch's writes.
        redis.call('EXPIRE', KEYS[2], LIFE)
        return answer
    end
    last = tonumber(string.match(batch, '^%d+'))
    local number = tonumber(string.match(identity, '^%d+'))
    if last == number then
        return redis.error_reply('TAKEN this number was another batch\'s: the writer was copied')
    elseif last > number then
        return redis.error_reply('STALE this writer has sent later batches')
    end
end
if earlier ~= '' and (not last or last < tonumber(earlier)) then
    return redis.error_reply('BEHIND an earlier batch of this writer is lost')
end
local amount, visitors, verdicts = screen()
local suffix = verdicts ~= '' and ':' .. verdicts or ''
local value = count(amount, visitors, identity .. ' ', suffix)
if type(value) == 'table' then
    if string.find(value.err, 'overflow') then
        -- Its hits are sent again one by one: a late repeat of the batch must not count them again.
        redis.call('SET', KEYS[2], identity .. ' refused', 'EX', LIFE)
    end
    return value
end
local answer = value .. suffix
if not amount then
    redis.call('SET', KEYS[2], identity .. ' ' .. answer, 'EX', LIFE)
end
return skipped and answer .. ' ' .. skipped or answer
