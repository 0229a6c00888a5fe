-- envoy_on_request: every request passes here; what is not allowed or not well-formed never reaches Triton.
do
  local HEADER_LENGTH = "inference-header-content-length"
  local SWEEP_ABOVE = 1048576 -- bytes; larger bodies leave large strings, which are returned at once

  -- The x-request-id that Envoy generated or the client sent, fit for logs and JSON
  local function request_id(headers)
    local id = headers:get("x-request-id") or ""
    local clean = string.sub(string.gsub(id, "[^%w%-_.:/+=@]", ""), 1, 128)
    if clean ~= id then headers:replace("x-request-id", clean) end
    return clean
  end

  local function too_large(limit)
    errors.raise("REQUEST_TOO_LARGE", "the body is larger than " .. limit .. " bytes")
  end

  -- -> the body as a buffer, complete; Triton gets it in one piece with its length, never in the client's chunks
  local function whole_body(handle, headers, limit, context)
    local declared = tonumber(headers:get("content-length") or "0")
    if not declared or declared > limit then too_large(limit) end
    local body = handle:body(true)
    context.bytes, context.unread = body:length(), 0
    if body:length() > limit then too_large(limit) end
    return body
  end

  local function refuse_encoding(headers)
    local encoding = headers:get("content-encoding")
    if encoding and string.lower(encoding) ~= "identity" then
      errors.raise("MEDIA_TYPE_UNSUPPORTED", "content-encoding " .. errors.shown(encoding)
        .. " is not taken; send the body as it is", nil, { ["accept-encoding"] = "identity" })
    end
  end

  local function refuse_media_type(headers)
    local media = string.lower(string.match(headers:get("content-type") or "", "^[^;%s]*"))
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
    refuse_encoding(headers)
    refuse_media_type(headers)
    local body = whole_body(handle, headers, limit, context)
    headers = handle:headers() -- Envoy's wrappers die when the script waits
    check_http_tensors(body, headers)
    headers:remove("transfer-encoding")
    headers:replace("content-length", tostring(body:length()))
  end

  local function refuse_body(headers)
    if headers:get("transfer-encoding") or (headers:get("content-length") or "0") ~= "0" then
      errors.raise("REQUEST_MALFORMED", "a GET request has a body; expected none")
    end
  end

  local function serve_http(handle, headers, path, limit, context)
    local endpoint = endpoints.http(path, headers:get(":method"))
    local target = endpoint.as or path
    if endpoint.ready and not versions.ready(handle) then
      errors.raise("SERVER_UNAVAILABLE", "not every active model is ready")
    end
    if endpoint.model then
      local version, chosen = versions.choose(handle, endpoint.model, endpoint.version, context)
      if chosen and not endpoint.stats then
        target = "/v2/models/" .. endpoint.model .. "/versions/" .. version .. endpoint.action
      end
    end
    if endpoint.infer then
      infer_over_http(handle, headers, limit, context)
    else
      refuse_body(headers)
    end
    headers = handle:headers()
    headers:remove("accept-encoding") -- Triton would compress its answers, errors included
    headers:replace(":path", target)
  end

  local function serve_grpc(handle, headers, path, limit, context)
    local endpoint = endpoints.grpc(path)
    if endpoint.ready and not versions.ready(handle) then
      errors.raise("SERVER_UNAVAILABLE", "not every active model is ready")
    end
    local body = whole_body(handle, headers, limit, context)
    local message = infer_proto.message(body)
    if endpoint.model then
      local name, version, chosen = infer_proto.target(message)
      version, chosen = versions.choose(handle, name, version, context)
      if endpoint.infer then infer_proto.check(message) end
      if chosen then body:setBytes(infer_proto.frame(message, protobuf.string_field(2, version))) end
    end
    if endpoint.as then handle:headers():replace(":path", endpoint.as) end
  end

  local function serve(handle, headers, context)
    local media = headers:get("content-type") or ""
    local path = string.match(headers:get(":path") or "", "^[^?#]*")
    context.limit = handle:metadata():get("max_request_bytes")
    context.id, context.path = request_id(headers), string.sub(path, 1, 512)
    context.grpc = media == "application/grpc" or string.find(media, "^application/grpc%+") ~= nil
    if handle:streamInfo():protocol() ~= "HTTP/2" then
      context.unread = tonumber(headers:get("content-length") or "0")
    end
    local serve_it = context.grpc and serve_grpc or serve_http
    serve_it(handle, headers, path, context.limit, context)
    if context.routed then handle:headers():add("x-slipway-routed", "1") end
    handle:streamInfo():dynamicMetadata():set("slipway", "request", context)
  end

  function envoy_on_request(handle)
    local context = { id = "", grpc = false, bytes = 0, limit = 0 }
    local good, problem = pcall(serve, handle, handle:headers(), context)
    if context.bytes > SWEEP_ABOVE then collectgarbage("collect") end
    if not good then errors.respond(handle, problem, context) end
  end
end
