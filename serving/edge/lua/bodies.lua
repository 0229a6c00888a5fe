-- What every protocol asks of a request's headers and body, before anything reads its content.
local bodies = {}
do
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
