-- usage: wrk ... -s tests/load/requests.lua http://HOST:8000 -- KIND PATH IDS [TOKEN...]
--
-- Sends one kind of request over and over and prints what wrk counted as one line of JSON (latencies in microseconds).
--   get     GET PATH, in which %d becomes a random id from 1 to IDS
--   create  POST PATH with a new post
--   login   POST PATH with the name of a random user from 1 to IDS, and the password of all of them
-- With tokens, each request carries one of them. Answers are counted by status.

local threads, statuses = {}, {}

function setup(thread)
  table.insert(threads, thread)
end

local function headers_for(kind, token)
  local headers = {}
  if token then headers["Authorization"] = "Bearer " .. token end
  if kind == "create" then headers["Content-Type"] = "application/json" end
  if kind == "login" then headers["Content-Type"] = "application/x-www-form-urlencoded" end
  return headers
end

function init(args)
  local kind, path, ids = args[1], args[2], tonumber(args[3])
  math.randomseed(os.time() + tonumber(tostring(statuses):match("0x(%x+)"), 16) % 100000)
  local headers = {}
  for n = 4, math.max(4, #args) do table.insert(headers, headers_for(kind, args[n])) end
  function request()
    local header = headers[math.random(#headers)]
    if kind == "create" then
      local body = '{"nama": "Ani", "umur": ' .. math.random(90) .. ', "alamat": "Jl. Melati 1"}'
      return wrk.format("POST", path, header, body)
    elseif kind == "login" then
      return wrk.format("POST", path, header, "username=user" .. math.random(ids) .. "@example.com&password=rahasia-123")
    end
    return wrk.format("GET", path:find("%%d") and path:format(math.random(ids)) or path, header)
  end
end

function response(status)
  local name = "status_" .. status
  statuses[name] = (statuses[name] or 0) + 1
  _G.counted = statuses
end

function done(summary, latency)
  local sums, errors, parts = {}, summary.errors, {}
  for _, thread in ipairs(threads) do
    for name, count in pairs(thread:get("counted") or {}) do sums[name] = (sums[name] or 0) + count end
  end
  for name, count in pairs(sums) do table.insert(parts, string.format('"%s": %d', name:sub(8), count)) end
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "no_answer": %d, "timeouts": %d, "p50": %.0f, "p99": %.0f, "max": %.0f, "statuses": {%s}}\n',
    summary.requests, summary.duration / 1e6, errors.connect + errors.read + errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max, table.concat(parts, ", ")))
end
