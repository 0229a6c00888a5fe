-- Upstream filter of an experiment's clusters, once per try and after the engine's own: writes the version of the host
-- that was picked, and marks an arm's failure so that the router asks the stable version.
-- x-slipway-try (the host's metadata, by the header_mutation filter before this one), x-slipway-written (the version
-- that the request carries already).
do
  local on_request, on_response = envoy_on_request, envoy_on_response
  local FAILED = { ["2"] = true, ["13"] = true, ["14"] = true } -- gRPC UNKNOWN, INTERNAL, UNAVAILABLE
  local FRAME = 5

  local function write_path(headers, version)
    local path = headers:get(":path")
    local there, count = string.gsub(path, "/versions/%d+", "/versions/" .. version, 1)
    if count == 0 then there = string.gsub(path, "^(/predictions/[^/]+)/%d+", "%1/" .. version) end
    headers:replace(":path", there)
  end

  -- In protobuf the last of several fields with one number counts: the version is appended.
  local function write_message(handle, version)
    local body = handle:body(true)
    local message = body:getBytes(FRAME, body:length() - FRAME)
    body:setBytes(frames.frame(message, protobuf.string_field(2, version)))
  end

  -- A copy comes without its length, and Triton reads whole bodies only.
  local function settle(handle)
    local length = handle:body(true):length()
    handle:headers():remove("transfer-encoding")
    handle:headers():replace("content-length", tostring(length))
  end

  function envoy_on_request(handle)
    on_request(handle)
    local headers = handle:headers()
    local version, written = headers:get("x-slipway-try"), headers:get("x-slipway-written")
    local grpc = string.find(headers:get("content-type") or "", "^application/grpc") ~= nil
    local noted = handle:streamInfo():dynamicMetadata()
    -- of all tries, because one that hangs goes on beside the next: whether a failure may be made good by another
    noted:set("slipway.try", "arm", headers:get("x-slipway-tried") ~= nil or headers:get("x-slipway-arm") == version)
    noted:set("slipway.try", "grpc", grpc)
    -- a later try after one of the arm itself: the access log reads it
    if headers:get("x-slipway-tried") then headers:replace("x-slipway-failed", "1") end
    if version == headers:get("x-slipway-arm") then headers:replace("x-slipway-tried", version) end
    if not grpc and not headers:get("content-length") then settle(handle) end
    if not grpc then return write_path(handle:headers(), version) end -- headers are those of all tries
    if version ~= written then write_message(handle, version) end -- of the body, each try has its own copy
  end

  -- Whether a handler's error came as OK, as an engine may send it. The router and the count of the arm's failures know
  -- the status in the headers only, so it is written there; response.lua takes it out again if no other try follows.
  local function failed_in_ok(handle, headers, noted)
    if not (faults.in_ok and noted.grpc) or headers:get("grpc-status") then return false end
    local code = faults.in_ok(handle:body(true))
    local status = code and errors.grpc_status(code)
    if not FAILED[status or ""] then return false end
    handle:headers():add("grpc-status", status)
    return true
  end

  local function failed(headers)
    return FAILED[headers:get("grpc-status") or "0"] or tonumber(headers:get(":status")) >= 500
  end

  -- Whether INTERNAL is about a message that Triton cannot read. It gets the status of a client's mistake, so that
  -- neither the router nor the count of failures takes it for the version's. What is wrong over HTTP the edge finds
  -- itself: this must not wait for a body, because another try may end the request meanwhile, and Envoy dies.
  local function settled_as_clients(headers)
    if (headers:get("grpc-status") or "0") == "0" then return false end
    local code, _, status = faults.special(faults.unescape_grpc(headers:get("grpc-message") or ""))
    if not code or status >= 500 then return false end
    headers:replace("grpc-status", errors.grpc_status(code))
    return true
  end

  function envoy_on_response(handle)
    local headers, noted = handle:headers(), handle:streamInfo():dynamicMetadata():get("slipway.try") or {}
    headers:replace("x-slipway-version", "0") -- Envoy puts in the version of the host, see listeners.py
    if failed(headers) and settled_as_clients(headers) then return end
    if noted.arm then
      if failed(headers) then
        return headers:add("x-slipway-retry", "1")
      elseif failed_in_ok(handle, headers, noted) then
        return handle:headers():add("x-slipway-retry", "in-ok")
      end
    end
    return on_response(handle)
  end
end
