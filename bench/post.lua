-- wrk script: POST one chat body over and over; arguments: BODY_FILE [PAUSE_MS ["NAME: VALUE" ...]].
-- With a pause, every connection waits about that long (at random, half to one and a half) between answer and next
-- request: wrk's clock starts when the request is written, so the pause is no part of a latency.

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json"
wrk.headers["User-Agent"] = "OpenAI/Python 2.0.0"
wrk.headers["Authorization"] = "Bearer sk-bench"
wrk.headers["X-Stainless-Lang"] = "python"
wrk.headers["X-Stainless-Runtime"] = "CPython"
wrk.headers["X-Stainless-Retry-Count"] = "0"

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.body = file:read("*a")
  file:close()
  for place = 3, #args do
    local name, value = args[place]:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  local pause = tonumber(args[2] or "0")
  if pause > 0 then
    function delay()
      return math.floor(pause * (0.5 + math.random()))
    end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"count": %d, "elapsed": %.6f, "p50": %.3f, "p99": %.3f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
