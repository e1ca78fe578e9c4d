-- PUT distinct pledges: the environment's BENCH_RUN names the run, so that ids are never used twice.
local run = os.getenv("BENCH_RUN") or "x"
local count = 0
wrk.method = "PUT"
wrk.headers["Content-Type"] = "application/json"
local body = '{"donors":[{"party":"GBR"}],"capability":"drone.fpv","amount":{"unit":"piece","exactly":"%d"},' ..
  '"announced_on":"2024-02-%02d","beneficiary":"UKR","due_by":"2024-12-31","sources":[{"url":' ..
  '"https://example.org/news/%d","publisher":"The Example","title":"Drones pledged","published_on":"2024-02-15"}],' ..
  '"labels":{"sector":["defence"]},"note":"bench"}'

request = function()
  count = count + 1
  local path = string.format("/v1/pledges/b-%s-%d", run, count)
  return wrk.format(nil, path, nil, string.format(body, count, count % 28 + 1, count % 200))
end

done = function(summary, latency)
  io.write(string.format("BENCH %d %d %d %.0f %.0f\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
