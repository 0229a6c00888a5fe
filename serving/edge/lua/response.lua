-- envoy_on_response: the server's errors are wrapped; local answers, and what the protocol settles itself, pass.
do
  -- Envoy derives the gRPC status of its own answers from the HTTP status: 413 would be UNKNOWN, 400 INTERNAL
  local function settle_grpc(headers, code)
    if headers:get("grpc-status") then headers:replace("grpc-status", errors.grpc_status(code)) end
  end

  local function from_grpc(handle, headers)
    if headers:get("grpc-status") then return answers.wrap_grpc(handle, headers) end
    local trailers = handle:trailers()
    if trailers then answers.wrap_grpc(handle, trailers) end
  end

  function envoy_on_response(handle)
    local headers = handle:headers()
    if headers:get("x-slipway-retry") == "in-ok" then headers:remove("grpc-status") end
    headers:remove("x-slipway-retry")
    local own = headers:get("x-slipway-error")
    if own then return settle_grpc(headers, own) end
    local status = tonumber(headers:get(":status"))
    local grpc = string.find(headers:get("content-type") or "", "^application/grpc") ~= nil
    if protocol.settled(handle, headers, grpc) then return end
    if grpc then
      from_grpc(handle, headers)
    elseif status >= 400 then
      answers.wrap_http(handle, status)
    end
  end
end
