-- TorchServe's answers that need a word: health, which the edge writes itself, and errors that come as gRPC OK.
do
  local HEALTHY = '{"status":"Healthy"}'
  -- TorchServeHealthResponse{health}, HealthCheckResponse{SERVING}
  local MESSAGES = { ping = protobuf.string_field(1, HEALTHY), check = "\8\1" }

  local function healthy_http(handle)
    local body, headers = handle:body(true), handle:headers()
    headers:replace(":status", "200")
    headers:replace("content-type", "application/json")
    body:setBytes(HEALTHY .. "\n")
    return true
  end

  local function healthy_grpc(handle, health)
    handle:body(true):setBytes(frames.frame(MESSAGES[health], ""))
    return true
  end

  -- Errors of a handler get their status here.
  local function failed_grpc(handle)
    local body = handle:body(true)
    local code, detail = faults.in_ok(body)
    local trailers = code and handle:trailers()
    if not trailers then return false end
    body:setBytes("")
    local context = answers.context_of(handle)
    answers.fail_grpc(handle, trailers, context, code, errors.valid(detail), errors.grpc_status(code))
    return true
  end

  -- -> whether nothing is left to be done
  function protocol.settled(handle, headers, grpc)
    if headers:get("grpc-status") then return false end
    local kept = answers.kept(handle)
    if kept then
      if grpc then return healthy_grpc(handle, kept.health) end
      return healthy_http(handle)
    end
    return grpc and failed_grpc(handle)
  end
end
