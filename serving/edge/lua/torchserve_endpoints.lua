-- The allow-list of TorchServe's edge: predictions and health; management, workflows and the rest do not exist here.
local endpoints = {}
do
  local SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/"
  -- `model`: a model and a version are named; `ready`: only while the routing table says so, because /ping of
  -- 0.12 looks at default versions alone and is 200 before anything is loaded; `answer`: any proves that the server
  -- lives, so the edge writes its own; `as`: what TorchServe is asked instead.
  local METHODS = {
    [SERVICE .. "Ping"] = { ready = true, answer = { health = "ping" } },
    ["/grpc.health.v1.Health/Check"] = { ready = true, answer = { health = "check" }, as = SERVICE .. "Ping" },
    [SERVICE .. "Predictions"] = { model = true },
  }
  local PLAIN = {
    ["/ping"] = { ready = true, answer = { health = "ping" } },
    ["/v2/health/ready"] = { ready = true, answer = { health = "ping" }, as = "/ping" },
    ["/v2/health/live"] = { answer = { health = "ping" }, as = "/ping" },
  }
  local FORBIDDEN_PATHS = { "^/models", "^/workflows", "^/wfpredict", "^/token", "^/metrics", "^/api%-description" }
  local FORBIDDEN_METHODS = "^/org%.pytorch%.serve%.grpc%.management%."
  local USE = "; use POST /predictions/{model} or /predictions/{model}/{version}, and GET /ping"
  local STREAMS = "; streaming calls are not served here: send one request per inference"

  local function forbid(what, path)
    errors.raise("ENDPOINT_FORBIDDEN", "the " .. what .. " " .. errors.shown(path) .. " is not open to clients")
  end

  function endpoints.grpc(path)
    local endpoint = METHODS[path]
    if endpoint then return endpoint end
    if string.find(path, FORBIDDEN_METHODS) then forbid("gRPC method", path) end
    local stream = string.find(path, "/StreamPredictions", 1, true) or path == "/grpc.health.v1.Health/Watch"
    return errors.raise("ENDPOINT_UNKNOWN",
      "there is no gRPC method " .. errors.shown(path) .. (stream and STREAMS or ""))
  end

  local function prediction(path)
    local name, rest = string.match(path, "^/predictions/([%w_.%-]+)(.*)$")
    if not name then return nil end
    local version = string.match(rest, "^/([^/]+)$")
    if rest ~= "" and not version then return nil end
    return { model = name, version = version }
  end

  function endpoints.http(path, method)
    for _, pattern in ipairs(FORBIDDEN_PATHS) do
      if string.find(path, pattern) then forbid("path", path) end
    end
    local endpoint = PLAIN[path] or prediction(path)
    if not endpoint then errors.raise("ENDPOINT_UNKNOWN", "there is no " .. errors.shown(path) .. USE) end
    -- PUT is what `curl -T photo.jpg`, the example of TorchServe's own documentation, sends
    local good = endpoint.model and (method == "POST" or method == "PUT") or not endpoint.model and method == "GET"
    if not good then
      local allow = endpoint.model and "POST, PUT" or "GET"
      local asked = errors.shown(method) .. " " .. errors.shown(path)
      errors.raise("ENDPOINT_UNKNOWN", asked .. " is not served; use " .. allow, "405", { allow = allow })
    end
    return endpoint
  end
end
