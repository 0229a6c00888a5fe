-- envoy_on_response of the upstream filter: marks the answers that are worth a retry. Its own script: it runs once per
-- try, below the router, whose policy retries what carries x-slipway-retry.
-- Marked: a version that the routing table promises but Triton does not have at this moment (a restart, a reload), and
-- a request that met a dead model process without having been inside it. A request that was inside is never repeated:
-- it may be what killed the process. Triton 2.51 says the same of both, so time tells them apart: the first answers of
-- a dead instance are those of its running batch, and each later one takes about 1 s of its own.
do
  local BATCH = 500 -- ms within which all requests of the batch that died are answered
  local FORGET = 2500 -- ms without such an answer, after which the instance counts as alive again
  local dead = {} -- instance name -> { first, last }: times of its answers in this outage, as this worker saw them

  local function was_inside(instance, now)
    local seen = dead[instance]
    if not seen or now - seen.last > FORGET then
      dead[instance] = { first = now, last = now }
      return true
    end
    seen.last = now
    return now - seen.first < BATCH
  end

  local function worth(handle, text)
    local instance = faults.of_dead_stub(text)
    if instance then return not was_inside(instance, handle:timestamp()) end
    local noted = handle:streamInfo():dynamicMetadata():get("slipway.try")
    return noted ~= nil and noted.routed == true and faults.of_absent_version(text)
  end

  function envoy_on_request(handle)
    local headers = handle:headers()
    local routed = headers:get("x-slipway-routed") ~= nil
    headers:remove("grpc-timeout") -- Envoy keeps it; a server's own answer to it would be the version's failure
    handle:streamInfo():dynamicMetadata():set("slipway.try", "routed", routed)
  end

  function envoy_on_response(handle)
    local text = faults.said(handle, faults.text_of)
    if text and worth(handle, text) then handle:headers():add("x-slipway-retry", "1") end
  end
end
