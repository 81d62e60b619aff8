-- Counts a batch of hits once, however often it is sent: each writer numbers its batches, and a
-- number that was seen gets the answer that it got (RIFL, Lee et al., SOSP 2015).
--
-- KEYS[2]: the writer's record, which holds its last number and the answer to it
-- ARGV[1]: the batch's number
-- Answers the value, and behind a colon, where hits are screened, what became of each.
if record then
    local number, answer = string.match(record, '^(%d+) (%S+)$')
    if record == ARGV[1] .. ' refused' then
        return redis.error_reply('ERR increment or decrement would overflow')
    end
    if number == ARGV[1] then
        -- A write, so that WAITAOF and WAIT behind a repeat wait for what the first one wrote.
        redis.call('EXPIRE', KEYS[2], LIFE)
        return answer
    end
    if tonumber(number) > tonumber(ARGV[1]) then
        return redis.error_reply('STALE this batch was settled, and others came after it')
    end
end
local amount, visitors, said = screened()
local answer = count(amount, visitors)
if type(answer) == 'table' then
    if string.find(answer.err, 'overflow') then
        -- Its hits come again, each by itself: a late repeat of them all must not count as well.
        redis.call('SET', KEYS[2], ARGV[1] .. ' refused', 'EX', LIFE)
    end
    return answer
end
if said ~= '' then
    answer = answer .. ':' .. said
end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. answer, 'EX', LIFE)
return answer
