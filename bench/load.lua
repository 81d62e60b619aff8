-- Prints wrk's results as one line of JSON, the last of its output.
-- Arguments after the URL: a method, a number of paths, a text that is unique to this run, and names
-- of headers that get a value of their own in each request. Each request has one of the paths at
-- random: the URL's with a number from 1 in place of NUMBER. Without arguments all requests are
-- `GET`s, alike.
init = function(args)
  local method, count, run = args[1], tonumber(args[2]), args[3]
  if not method then
    return
  end
  local headers, paths, sent = {}, {}, 0
  for number = 1, count do
    paths[number] = wrk.path:gsub("NUMBER", number)
  end
  request = function()
    sent = sent + 1
    for place = 4, #args do
      headers[args[place]] = run .. sent
    end
    return wrk.format(method, paths[math.random(count)], headers)
  end
end

done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"seconds": %.6f, "requests": %d, "p50": %.3f, "p99": %.3f, "non_2xx": %d, "failed": %d}\n',
    summary.duration / 1e6, summary.requests,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
