-- Prints wrk's results as one line of JSON, the last of its output.
-- Arguments after the URL: a method, a text that is unique to this run, and names of headers that
-- get a value of their own in each request. Without arguments all requests are `GET`s, alike.
init = function(args)
  local method, run = args[1], args[2]
  if not method then
    return
  end
  local headers, sent = {}, 0
  request = function()
    sent = sent + 1
    for place = 3, #args do
      headers[args[place]] = run .. sent
    end
    return wrk.format(method, nil, headers)
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
