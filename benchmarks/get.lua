-- GET one path, and say how it went in one line.
done = function(summary, latency)
  io.write(string.format("BENCH %d %d %d %.0f %.0f\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
