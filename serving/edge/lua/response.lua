-- envoy_on_response: Triton's errors get a code and a request id and lose their stack traces; local answers pass.
do
  local function context_of(handle)
    local noted = handle:streamInfo():dynamicMetadata():get("slipway")
    return noted and noted.request or { id = "", grpc = false }
  end

  local function note_code(handle, context, code)
    context.code = code
    handle:streamInfo():dynamicMetadata():set("slipway", "request", context)
  end

  local function wrap_http(handle, status)
    local context, body = context_of(handle), handle:body(true)
    local text = faults.text_of(body:getBytes(0, math.min(body:length(), 65536)))
    local code, clean, answer = faults.classify(status, text, context)
    note_code(handle, context, code)
    local headers = handle:headers()
    headers:replace(":status", tostring(answer))
    headers:replace("content-type", "application/json")
    headers:replace("x-slipway-error", code)
    body:setBytes(errors.http_body(code, errors.valid(clean), context.id))
  end

  local function wrap_grpc(handle, fields)
    local grpc_status = tonumber(fields:get("grpc-status"))
    if not grpc_status or grpc_status == 0 then return end
    local context = context_of(handle)
    local text = faults.unescape_grpc(fields:get("grpc-message") or "")
    local code, clean, answer = faults.classify_grpc(grpc_status, text, context)
    note_code(handle, context, code)
    fields:replace("grpc-status", tostring(answer))
    fields:replace("grpc-message", faults.escape_grpc(code .. ": " .. clean))
    fields:replace("x-slipway-error", code)
  end

  -- Envoy derives the gRPC status of its own answers from the HTTP status: 413 would be UNKNOWN, 400 INTERNAL
  local function settle_grpc(headers, code)
    if headers:get("grpc-status") then headers:replace("grpc-status", errors.grpc_status(code)) end
  end

  function envoy_on_response(handle)
    local headers = handle:headers()
    headers:remove("x-slipway-retry")
    local own = headers:get("x-slipway-error")
    if own then return settle_grpc(headers, own) end
    local status = tonumber(headers:get(":status"))
    local media = headers:get("content-type") or ""
    if string.find(media, "^application/grpc") then
      if headers:get("grpc-status") then return wrap_grpc(handle, headers) end
      local trailers = handle:trailers()
      if trailers then wrap_grpc(handle, trailers) end
    elseif status >= 400 then
      wrap_http(handle, status)
    end
  end
end
