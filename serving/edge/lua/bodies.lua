-- What every protocol asks of a request's headers and body, before anything reads its content.
local bodies = {}
do
  local byte, sub = string.byte, string.sub
  local COLON = byte(":")

  -- The x-request-id that Envoy generated or the client sent, fit for logs and JSON
  function bodies.request_id(headers)
    local id = headers:get("x-request-id") or ""
    local clean = string.sub(string.gsub(id, "[^%w%-_.:/+=@]", ""), 1, 128)
    if clean ~= id then headers:replace("x-request-id", clean) end
    return clean
  end

  local function too_large(limit)
    errors.raise("REQUEST_TOO_LARGE", "the body is larger than " .. limit .. " bytes")
  end

  -- -> the body as a buffer, complete; the server gets it in one piece with its length, never in the client's chunks
  function bodies.whole(handle, headers, limit, context)
    local declared = tonumber(headers:get("content-length") or "0")
    if not declared or declared > limit then too_large(limit) end
    local body = handle:body(true)
    context.bytes, context.unread = body:length(), 0
    if body:length() > limit then too_large(limit) end
    return body
  end

  -- After `whole`: in one piece, with its length
  function bodies.settle(headers, body)
    headers:remove("transfer-encoding")
    headers:replace("content-length", tostring(body:length()))
  end

  -- What every engine is told of a client's headers, with its protocol's own. The rest stops here: Triton drops the
  -- connection over 8 KiB of headers, as TorchServe does, and a version would seem to have failed.
  local KEPT = { ["content-type"] = true, ["content-length"] = true, ["transfer-encoding"] = true, host = true,
    ["x-request-id"] = true, traceparent = true,
    ["x-forwarded-proto"] = true } -- Envoy's own: without it no route is found anew, and an arm's request gets 404
  local LONGEST_HEADER = 512 -- bytes of one that is kept

  -- kept: names of the protocol's own
  function bodies.drop_headers(headers, kept)
    local dropped = {}
    for name, value in pairs(headers) do
      local known = KEPT[name] or kept[name]
      local own = not known and (byte(name) == COLON or sub(name, 1, 10) == "x-slipway-")
      if not own and not (known and #value <= LONGEST_HEADER) then dropped[#dropped + 1] = name end
    end
    for _, name in ipairs(dropped) do
      headers:remove(name)
    end
    if #(headers:get(":authority") or "") > LONGEST_HEADER then headers:replace(":authority", "slipway") end
  end

  local SECONDS = { H = 3600, M = 60, S = 1, m = 1e-3, u = 1e-6, n = 1e-9 }

  -- The client's own deadline in seconds; nil when it has none, or one that is not shorter than the edge's limit. Envoy
  -- has read the header and written it anew. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
  function bodies.deadline(headers, limit)
    local digits, unit = string.match(headers:get("grpc-timeout") or "", "^(%d+)([HMSmun])$")
    local found = digits and tonumber(digits) * SECONDS[unit]
    return found and found < limit and found or nil
  end

  function bodies.refuse_encoding(headers)
    local encoding = headers:get("content-encoding")
    if encoding and string.lower(encoding) ~= "identity" then
      errors.raise("MEDIA_TYPE_UNSUPPORTED", "content-encoding " .. errors.shown(encoding)
        .. " is not taken; send the body as it is", nil, { ["accept-encoding"] = "identity" })
    end
  end

  -- The media type without its parameters, in lower case; "" when none is named
  function bodies.media_type(headers)
    return string.lower(string.match(headers:get("content-type") or "", "^[^;%s]*"))
  end

  function bodies.refuse_any(headers)
    if headers:get("transfer-encoding") or (headers:get("content-length") or "0") ~= "0" then
      errors.raise("REQUEST_MALFORMED", "a GET request has a body; expected none")
    end
  end
end
