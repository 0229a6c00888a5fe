-- envoy_on_request: every request passes here; `protocol` decides what reaches the server behind, and as what.
do
  local SWEEP_ABOVE = 1048576 -- bytes; larger bodies leave large strings, which are returned at once

  -- What the router and the servers behind are told in headers that no client can send
  local function mark(handle, headers, context)
    if context.routed then headers:add("x-slipway-routed", "1") end
    -- always: servers hand headers to handlers as request parameters, and a client's of this name must not count
    headers:replace("x-slipway-record", context.record or "0")
    if context.version then
      headers:add("x-slipway-model", context.model)
      headers:add("x-slipway-written", context.version)
    end
    if context.route then
      headers:add("x-slipway-route", context.route)
      if context.arm then headers:add("x-slipway-arm", context.arm) end
      handle:clearRouteCache()
    end
  end

  -- For the log and the way back. What the way in alone needs leaves the context, for good: a stream notes it again.
  local function note(handle, context)
    local noted = handle:streamInfo():dynamicMetadata()
    if context.answer then noted:set("slipway.answer", "kept", context.answer) end
    context.answer, context.record, context.route, context.arm, context.unread = nil, nil, nil, nil, nil
    noted:set("slipway", "request", context)
  end

  local SCRIPT, serial = tostring({}), 0 -- its address: each worker has this script once

  -- The id of the request; of a client's that has no letter fit for logs, one of the form that Envoy makes
  local function id_of(handle, headers)
    local id = bodies.request_id(headers)
    if id ~= "" then return id end
    serial = serial + 1
    local seed, part = SCRIPT .. handle:timestamp() .. ":" .. serial, {}
    for at = 1, 4 do
      part[at] = string.format("%08x", hashing.hash(at .. seed))
    end
    id = string.gsub(table.concat(part), "^(%x%x%x%x%x%x%x%x)(%x%x%x%x)(%x%x%x%x)(%x%x%x%x)", "%1-%2-%3-%4-")
    headers:replace("x-request-id", id)
    return id
  end

  local function serve(handle, headers, context)
    local media = headers:get("content-type") or ""
    local path = string.match(headers:get(":path") or "", "^[^?#]*")
    context.limit = routing.entry(handle, "max_request_bytes")
    context.id, context.path = id_of(handle, headers), string.sub(path, 1, 512)
    context.grpc = media == "application/grpc" or string.find(media, "^application/grpc%+") ~= nil
    if context.grpc then context.deadline = bodies.deadline(headers, routing.entry(handle, "request_timeout")) end
    if handle:streamInfo():protocol() ~= "HTTP/2" then
      context.unread = tonumber(headers:get("content-length") or "0")
    end
    local serve_it = context.grpc and protocol.grpc or protocol.http
    local rest = serve_it(handle, headers, path, context.limit, context)
    mark(handle, handle:headers(), context)
    note(handle, context)
    if rest then rest() end -- of a stream: the headers pass when it waits for the first piece of the body
  end

  function envoy_on_request(handle)
    local context = { id = "", grpc = false, bytes = 0, limit = 0 }
    local good, problem = pcall(serve, handle, handle:headers(), context)
    if context.bytes > SWEEP_ABOVE then collectgarbage("collect") end
    if not good then errors.respond(handle, problem, context) end
  end
end
