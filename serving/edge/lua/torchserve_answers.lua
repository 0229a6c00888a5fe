-- TorchServe's answers that need a word: health, which the edge writes itself, and errors that come as gRPC OK.
do
  local SNIFFED = 16384 -- bytes of an answer that are looked at for an error of our handler
  local FRAME, PREDICTION = 5, 10 -- bytes of a gRPC frame's header; the tag of the field `prediction`
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

  local function healthy_grpc(handle, context)
    handle:body(true):setBytes(frames.frame(MESSAGES[context.health], ""))
    return true
  end

  -- Where the content of `prediction` begins, after its tag and its length; nil for another message
  local function content(text)
    local at = FRAME + 1
    if string.byte(text, at) ~= PREDICTION then return nil end
    repeat at = at + 1 until (string.byte(text, at) or 0) < 128
    return at + 1
  end

  -- The frontend sends OK with whatever the handler answered, errors included (0.12): they get their status here.
  local function failed_grpc(handle, context)
    local body = handle:body(true)
    local text = body:getBytes(0, math.min(body:length(), SNIFFED))
    local start = content(text)
    local code, detail
    -- the answer itself: a list of answers may begin with the error of one image
    if start then code, detail = faults.own(string.sub(text, start)) end
    local trailers = code and handle:trailers()
    if not trailers then return false end
    body:setBytes("")
    answers.fail_grpc(handle, trailers, context, code, errors.valid(detail), errors.grpc_status(code))
    return true
  end

  -- -> whether nothing is left to be done
  function protocol.settled(handle, headers, context, grpc)
    if headers:get("grpc-status") then return false end
    if context.health then
      if grpc then return healthy_grpc(handle, context) end
      return healthy_http(handle)
    end
    return grpc and failed_grpc(handle, context)
  end
end
