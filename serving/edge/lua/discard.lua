-- The listener behind errors.lua's discard: waits for the end of a refused request, then gives the answer that its
-- headers carry. Its bytes were dropped before they came here.
function envoy_on_request(handle)
  handle:body(true)
  local headers = handle:headers()
  handle:respond({
    [":status"] = headers:get("x-slipway-status") or "400",
    ["content-type"] = "application/json",
    ["x-slipway-error"] = headers:get("x-slipway-code") or "REQUEST_MALFORMED",
  }, (headers:get("x-slipway-answer") or "{}") .. "\n")
end
