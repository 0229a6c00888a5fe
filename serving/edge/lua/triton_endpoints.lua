-- The allow-list: which paths and gRPC methods exist at the edge, and what each needs.
local endpoints = {}
do
  local V2 = "/inference.GRPCInferenceService/"
  -- `model`: the message names a model and version; `infer`: tensors are checked; `ready`: only while ready;
  -- `as`: the method that Triton is asked instead. ServerReady and Health/Check would speak of Triton's own
  -- readiness, which is wrong in both directions, so the table's flag decides and ServerLive proves that Triton
  -- answers: ServerLiveResponse{live}, ServerReadyResponse{ready} and HealthCheckResponse{SERVING} are the same bytes.
  local METHODS = {
    [V2 .. "ServerLive"] = {},
    [V2 .. "ServerReady"] = { ready = true, as = V2 .. "ServerLive" },
    ["/grpc.health.v1.Health/Check"] = { ready = true, as = V2 .. "ServerLive" },
    [V2 .. "ServerMetadata"] = {},
    [V2 .. "ModelReady"] = { model = true },
    [V2 .. "ModelMetadata"] = { model = true },
    [V2 .. "ModelConfig"] = { model = true },
    [V2 .. "ModelStatistics"] = {},
    [V2 .. "ModelInfer"] = { model = true, infer = true },
    [V2 .. "ModelStreamInfer"] = { stream = true },
  }
  local FORBIDDEN_METHODS = { "Repository", "SystemSharedMemory", "CudaSharedMemory", "TraceSetting", "LogSettings" }
  local FORBIDDEN_PATHS = {
    "^/v2/repository", "^/v2/systemsharedmemory", "^/v2/cudasharedmemory", "^/v2/trace", "^/v2/logging",
    "^/v2/models/[^/]+/trace", "^/v2/models/[^/]+/versions/[^/]+/trace",
  }
  local PLAIN = {
    ["/v2"] = {},
    ["/v2/health/live"] = {},
    ["/v2/health/ready"] = { ready = true, as = "/v2/health/live" },
    ["/v2/models/stats"] = {},
  }
  local OF_MODEL = { [""] = true, ["/ready"] = true, ["/config"] = true, ["/stats"] = true, ["/infer"] = true }
  local STREAMS = "; streaming calls are not served here: send one request per inference"

  local function unknown(text, status)
    errors.raise("ENDPOINT_UNKNOWN", text, status)
  end

  function endpoints.grpc(path)
    local endpoint = METHODS[path]
    if endpoint then return endpoint end
    local method = string.match(path, "^/inference%.GRPCInferenceService/(%a+)$") or ""
    for _, prefix in ipairs(FORBIDDEN_METHODS) do
      if string.sub(method, 1, #prefix) == prefix then
        errors.raise("ENDPOINT_FORBIDDEN", "the gRPC method " .. method .. " is not open to clients")
      end
    end
    local stream = path == "/grpc.health.v1.Health/Watch"
    return unknown("there is no gRPC method " .. errors.shown(path) .. (stream and STREAMS or ""))
  end

  local function of_model(path)
    local name, rest = string.match(path, "^/v2/models/([%w_.%-]+)(.*)$")
    if not name then return nil end
    local version, action = string.match(rest, "^/versions/([^/]+)(.*)$")
    action = action or rest
    if string.find(action, "^/generate") then unknown("there is no " .. errors.shown(path) .. STREAMS) end
    if not OF_MODEL[action] then return nil end
    return { model = name, version = version, action = action, infer = action == "/infer", stats = action == "/stats" }
  end

  function endpoints.http(path, method)
    for _, pattern in ipairs(FORBIDDEN_PATHS) do
      if string.find(path, pattern) then
        errors.raise("ENDPOINT_FORBIDDEN", "the path " .. errors.shown(path) .. " is not open to clients")
      end
    end
    local endpoint = PLAIN[path] or of_model(path)
    if not endpoint then
      unknown("there is no " .. errors.shown(path) .. "; the V2 protocol's health, metadata and infer paths are served")
    end
    local expected = endpoint.infer and "POST" or "GET"
    if method ~= expected then
      local asked = errors.shown(method) .. " " .. errors.shown(path)
      errors.raise("ENDPOINT_UNKNOWN", asked .. " is not served; use " .. expected, "405", { allow = expected })
    end
    return endpoint
  end
end
