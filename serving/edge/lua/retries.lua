-- envoy_on_response of the upstream filter: marks the answers that are worth a retry. Its own script: it runs once per
-- try, below the router, whose policy retries what carries x-slipway-retry.
-- Marked: a model whose process has died (the watchdog heals it), and a version that the routing table promises but
-- Triton does not have at this moment (a restart). Requests that were in flight when a process died come back as
-- resets or other texts, and are not repeated: such a request may be what killed it.
do
  local function worth(text, context)
    return faults.of_dead_stub(text) or context.routed and faults.of_absent_version(text)
  end

  function envoy_on_request(handle)
    local routed = handle:headers():get("x-slipway-routed") ~= nil
    handle:streamInfo():dynamicMetadata():set("slipway.try", "routed", routed)
  end

  local function context_of(handle)
    local noted = handle:streamInfo():dynamicMetadata():get("slipway.try")
    return { routed = noted ~= nil and noted.routed == true }
  end

  function envoy_on_response(handle)
    local headers = handle:headers()
    local grpc_status = headers:get("grpc-status")
    local text
    if grpc_status and grpc_status ~= "0" then
      text = faults.unescape_grpc(headers:get("grpc-message") or "")
    elseif tonumber(headers:get(":status")) >= 400 then
      local body = handle:body(true)
      text = body:getBytes(0, math.min(body:length(), 65536))
    end
    if text and worth(text, context_of(handle)) then handle:headers():add("x-slipway-retry", "1") end
  end
end
