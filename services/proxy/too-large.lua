-- 413, when the body has been read and thrown away, piece by piece: up to 64 MiB, or what comes in 30 s. Clients that send all
-- before they read would get an error instead of the answer otherwise, over HTTP/2 most of all.
local problem = '{"type":"about:blank","title":"Content Too Large","status":413,"detail":"The body is too large."}'

core.register_service("too_large", "http", function(applet)
  local piece, left, last = 1024, 64 * 1024 * 1024, core.now().sec + 30
  repeat
    local part = applet:receive(piece)
    left = left - #part
  until #part == 0 or left < 0 or core.now().sec > last
  applet:set_status(413, "Content Too Large")
  applet:add_header("content-type", "application/problem+json")
  applet:add_header("content-length", tostring(#problem))
  applet:start_response()
  applet:send(problem)
end)
