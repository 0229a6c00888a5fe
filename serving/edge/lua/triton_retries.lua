-- envoy_on_response of the upstream filter: marks the answers that are worth a retry. Its own script: it runs once per
-- try, below the router, whose policy retries what carries x-slipway-retry.
-- Marked: a version that the routing table promises but Triton does not have at this moment (a restart, a reload), and
-- a request that met a dead model process without having been inside it. A request that was inside is never repeated:
-- it may be what killed the process. Triton 2.51 says the same of both, so time tells them apart: the first answers of
-- a dead instance are those of its running batch, and each later one takes about 1 s of its own.
do
  local BATCH = 500 -- ms within which all requests of the batch that died are answered
  local FORGET = 2500 -- ms without such an answer, after which the instance counts as alive again
  local MOST = 256 -- instances that are held: more do not die within that time
  local dead = {} -- target and instance -> { first, last }: times of its answers in this outage, for this worker

  -- Instances that are forgotten go when another one dies.
  local function note(instance, now)
    local count = 0
    for name, seen in pairs(dead) do
      if now - seen.last > FORGET then dead[name] = nil else count = count + 1 end
    end
    if count >= MOST then dead = {} end
    dead[instance] = { first = now, last = now }
  end

  local function was_inside(instance, now)
    local seen = dead[instance]
    if not seen or now - seen.last > FORGET then
      note(instance, now)
      return true
    end
    seen.last = now
    return now - seen.first < BATCH
  end

  local function worth(handle, text)
    local instance = faults.of_dead_stub(text)
    local noted = handle:streamInfo():dynamicMetadata():get("slipway.try") or {}
    -- instances have the same names in all versions
    if instance then return not was_inside((noted.target or "") .. "/" .. instance, handle:timestamp()) end
    return noted.routed == true and faults.of_absent_version(text)
  end

  function envoy_on_request(handle)
    local headers = handle:headers()
    local routed = headers:get("x-slipway-routed") ~= nil
    headers:remove("grpc-timeout") -- Envoy keeps it; a server's own answer to it would be the version's failure
    local model = headers:get("x-slipway-model")
    local version = headers:get("x-slipway-try") or headers:get("x-slipway-written")
    handle:streamInfo():dynamicMetadata():set("slipway.try", "routed", routed)
    handle:streamInfo():dynamicMetadata():set("slipway.try", "target", (model or "") .. "/" .. (version or ""))
  end

  function envoy_on_response(handle)
    local text = faults.said(handle, faults.text_of)
    if text and worth(handle, text) then handle:headers():add("x-slipway-retry", "1") end
  end
end
