-- The KServe V2 protocol: what is not allowed or not well-formed never reaches Triton; versions are written in.
local protocol = {}
do
  local HEADER_LENGTH = "inference-header-content-length"
  -- Not accept-encoding: Triton would compress its answers, errors included.
  local KEPT = { [HEADER_LENGTH] = true }
  local KEPT_OF_GRPC = { te = true, ["grpc-timeout"] = true, ["grpc-encoding"] = true, ["grpc-accept-encoding"] = true }

  local function refuse_media_type(headers)
    local media = bodies.media_type(headers)
    if media ~= "" and media ~= "application/json" and media ~= "application/octet-stream" then
      errors.raise("MEDIA_TYPE_UNSUPPORTED", "content-type " .. errors.shown(media)
        .. " is not taken; send application/json or application/octet-stream")
    end
  end

  local function check_http_tensors(body, headers)
    local total, declared = body:length(), headers:get(HEADER_LENGTH)
    if not declared then
      return infer_json.check(body:getBytes(0, total), total, nil)
    end
    local json_bytes = string.find(declared, "^%d+$") and #declared < 11 and tonumber(declared)
    if not json_bytes or json_bytes > total then
      errors.raise("REQUEST_MALFORMED", "the header Inference-Header-Content-Length is " .. errors.shown(declared)
        .. "; expected a whole number up to the length of the body (" .. total .. ")")
    end
    if json_bytes == 0 then -- Triton's raw binary request: the whole body is the one input
      if total == 0 then errors.raise("REQUEST_MALFORMED", "the body is empty") end
      return nil
    end
    return infer_json.check(body:getBytes(0, json_bytes), total, total - json_bytes)
  end

  local function infer_over_http(handle, headers, limit, context)
    bodies.refuse_encoding(headers)
    refuse_media_type(headers)
    local body = bodies.whole(handle, headers, limit, context)
    headers = handle:headers() -- Envoy's wrappers die when the script waits
    check_http_tensors(body, headers)
    bodies.settle(headers, body)
  end

  function protocol.http(handle, headers, path, limit, context)
    local endpoint = endpoints.http(path, headers:get(":method"))
    local target = endpoint.as or path
    if endpoint.ready and not versions.ready(handle) then
      errors.raise("SERVER_UNAVAILABLE", "not every active model is ready")
    end
    if endpoint.model then
      local version, chosen = versions.choose(handle, endpoint.model, endpoint.version, context, endpoint.infer)
      if chosen and not endpoint.stats then
        target = "/v2/models/" .. endpoint.model .. "/versions/" .. version .. endpoint.action
      end
    end
    if endpoint.infer then
      infer_over_http(handle, headers, limit, context)
    else
      bodies.refuse_any(headers)
    end
    headers = handle:headers()
    bodies.drop_headers(headers, KEPT)
    headers:replace(":path", target)
  end

  function protocol.grpc(handle, headers, path, limit, context)
    local endpoint = endpoints.grpc(path)
    if endpoint.ready and not versions.ready(handle) then
      errors.raise("SERVER_UNAVAILABLE", "not every active model is ready")
    end
    if endpoint.stream then
      bodies.drop_headers(headers, KEPT_OF_GRPC)
      return triton_streams.request(handle, context)
    end
    local body = bodies.whole(handle, headers, limit, context)
    local message = frames.message(body)
    if endpoint.model then
      local name, version, chosen = frames.target(message)
      version, chosen = versions.choose(handle, name, version, context, endpoint.infer)
      if endpoint.infer then infer_proto.check(message) end
      if chosen then body:setBytes(frames.frame(message, protobuf.string_field(2, version))) end
    end
    headers = handle:headers()
    bodies.drop_headers(headers, KEPT_OF_GRPC)
    if endpoint.as then headers:replace(":path", endpoint.as) end
  end

  -- -> whether nothing is left to be done
  function protocol.settled(handle, headers, grpc)
    local kept = answers.kept(handle)
    if not kept then return false end
    triton_streams.response(handle, headers, kept.stream)
    return true
  end
end
