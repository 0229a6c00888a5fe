-- In front of another server's edge: says that the request is passed on, gives the path its query back, and marks the
-- answers of a server that has not got the version: no model had the request, another server may.
do
  local ABSENT = { VERSION_NOT_FOUND = true, MODEL_NOT_FOUND = true }
  local AT_THE_MOMENT = "the model is not loaded at the moment" -- faults.lua, of a version that the other edge promises

  function envoy_on_request(handle)
    local headers = handle:headers()
    local query = headers:get("x-slipway-query")
    if query then headers:replace(":path", headers:get(":path") .. "?" .. query) end
    headers:replace("slipway-forwarded", "1")
  end

  local function text_of(handle, headers)
    if headers:get("grpc-status") then return headers:get("grpc-message") or "" end
    local body = handle:body(true)
    return body:getBytes(0, math.min(body:length(), 4096))
  end

  function envoy_on_response(handle)
    local headers = handle:headers()
    local code = headers:get("x-slipway-error")
    local absent = code == "SERVER_UNAVAILABLE" and string.find(text_of(handle, headers), AT_THE_MOMENT, 1, true)
    if absent or ABSENT[code] then handle:headers():replace("x-slipway-retry", "1") end
  end
end
