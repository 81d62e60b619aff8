-- Counts a batch of hits once, however often it is sent: each writer numbers its batches, and a
-- number that was seen gets the answer that it got (RIFL, Lee et al., SOSP 2015).
--
-- KEYS[2]: the writer's record, which holds its last number and the answer to it
-- ARGV[1]: the batch's number, a colon and a random word, which is another one in a copied process
-- Answers the value; behind a colon, where hits are screened, what became of each; and behind a
-- space, where something of them could not be recorded, what that was.
if record then
    local batch, answer = string.match(record, '^(%S+) (%S+)$')
    if batch == ARGV[1] and answer == 'refused' then
        return redis.error_reply('ERR increment or decrement would overflow')
    end
    if batch == ARGV[1] then
        -- A write, so that WAITAOF and WAIT behind a repeat wait for what the first one wrote.
        redis.call('EXPIRE', KEYS[2], LIFE)
        return answer
    end
    local last = tonumber(string.match(batch, '^%d+'))
    local number = tonumber(string.match(ARGV[1], '^%d+'))
    if last == number then
        return redis.error_reply('TAKEN this number was another batch\'s: the writer was copied')
    elseif last > number then
        return redis.error_reply('STALE this writer has sent later batches')
    end
end
local amount, visitors, said = screened()
local verdicts = said ~= '' and ':' .. said or ''
local value = count(amount, visitors, ARGV[1] .. ' ', verdicts)
if type(value) == 'table' then
    if string.find(value.err, 'overflow') then
        -- Its hits come again, each by itself: a late repeat of them all must not count as well.
        redis.call('SET', KEYS[2], ARGV[1] .. ' refused', 'EX', LIFE)
    end
    return value
end
local answer = value .. verdicts
if not amount then
    redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. answer, 'EX', LIFE)
end
return skipped and answer .. ' ' .. skipped or answer
