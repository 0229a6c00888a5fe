-- envoy_on_response of the upstream filter: marks the answers that are worth a retry. Its own script: it runs once per
-- try, below the router, whose policy retries what carries x-slipway-retry.
-- Marked: a version that the routing table promises but TorchServe does not have, or has without a worker, at this
-- moment (a restart), in the frontend's own words: what a model answers may quote its client. "Worker died" is never
-- repeated: the request may be what killed it.
do
  local function worth(handle, text)
    local noted = handle:streamInfo():dynamicMetadata():get("slipway.try")
    if not (noted and noted.routed) then return false end
    return faults.of_absent_version(text) or faults.of_no_worker(text)
  end

  function envoy_on_request(handle)
    local headers = handle:headers()
    local routed = headers:get("x-slipway-routed") ~= nil
    headers:remove("grpc-timeout") -- Envoy keeps it; a server's own answer to it would be the version's failure
    handle:streamInfo():dynamicMetadata():set("slipway.try", "routed", routed)
  end

  function envoy_on_response(handle)
    if handle:headers():get("x-slipway-error") then return end -- a handler of ours had the request
    local text = faults.said(handle, faults.of_frontend)
    if text and worth(handle, text) then handle:headers():add("x-slipway-retry", "1") end
  end
end
