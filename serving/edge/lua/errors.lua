-- Answers that the edge gives itself: coded JSON over HTTP, a coded grpc-message over gRPC.
local errors = { MAX_DISCARD = 1073741824 } -- bytes of a refused body that are still read
do
  -- code -> HTTP status, gRPC status (https://grpc.github.io/grpc/core/md_doc_statuscodes.html)
  local STATUS = {
    REQUEST_MALFORMED = { "400", "3" },
    REQUEST_INVALID = { "400", "3" },
    REQUEST_TOO_LARGE = { "413", "8" },
    ENDPOINT_FORBIDDEN = { "403", "7" },
    ENDPOINT_UNKNOWN = { "404", "12" },
    MEDIA_TYPE_UNSUPPORTED = { "415", "12" },
    MODEL_NOT_FOUND = { "404", "5" },
    VERSION_NOT_FOUND = { "404", "5" },
    REQUEST_TIMEOUT = { "408", "4" },
    SERVER_UNAVAILABLE = { "503", "14" },
    INTERNAL = { "500", "13" },
  }
  local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

  local function escape(char)
    return ESCAPES[char] or string.format("\\u%04x", string.byte(char))
  end

  -- Text as a JSON string, quotes included. Bytes above 0x7f pass: callers hand in valid UTF-8 or printable ASCII.
  function errors.quote(text)
    return '"' .. string.gsub(text, '[%c"\\]', escape) .. '"'
  end

  -- The gRPC status of a code, as text
  function errors.grpc_status(code)
    if string.sub(code, 1, 6) == "IMAGE_" then return STATUS.REQUEST_INVALID[2] end
    return (STATUS[code] or STATUS.INTERNAL)[2]
  end

  -- What a client sent, fit to be quoted in an answer: printable ASCII, at most 80 characters.
  function errors.shown(text)
    local clean = string.gsub(text, "[^\32-\126]", "?")
    return #clean > 80 and string.sub(clean, 1, 77) .. "..." or clean
  end

  -- Text of a server, with the bytes above 0x7f replaced when they are no clean UTF-8 (a cut message, binary data)
  function errors.valid(text)
    local rest = string.gsub(text, "[\194-\244][\128-\191]+", "")
    if not string.find(rest, "[\128-\255]") then return text end
    return (string.gsub(text, "[\128-\255]", "?"))
  end

  -- Stop this request with a code of slipway/errors.py; `headers` (optional) are added to the answer.
  function errors.raise(code, text, status, headers)
    error({ code = code, text = text, status = status, headers = headers }, 0)
  end

  function errors.http_body(code, text, request_id)
    return '{"error":' .. errors.quote(code .. ": " .. text) .. ',"code":"' .. code .. '","request_id":'
      .. errors.quote(request_id) .. "}\n"
  end

  -- HTTP/1 clients that write their whole body before they read (Python's http.client) would see a reset instead of
  -- this answer: read what is still to come first. Small bodies are buffered; large ones go, emptied piece by piece,
  -- to the listener of discard.lua, which gives the answer at the end.
  local function discard(handle, status, code, answer, context)
    local headers = handle:headers()
    headers:replace("x-slipway-status", status)
    headers:replace("x-slipway-code", code)
    headers:replace("x-slipway-answer", string.sub(answer, 1, -2))
    headers:remove("content-length")
    handle:clearRouteCache()
    for chunk in handle:bodyChunks() do
      chunk:setBytes("")
    end
  end

  local function respond_http(handle, problem, headers, context)
    local status = problem.status or STATUS[problem.code][1]
    local answer = errors.http_body(problem.code, problem.text, context.id)
    local unread = context.unread or 0
    if unread > context.limit and unread <= errors.MAX_DISCARD then
      return discard(handle, status, problem.code, answer, context)
    end
    if unread > 0 and unread <= context.limit then handle:body(true) end
    headers[":status"] = status
    headers["content-type"] = "application/json"
    return handle:respond(headers, answer)
  end

  local function respond_grpc(handle, problem, headers)
    headers[":status"] = "200"
    headers["content-type"] = "application/grpc"
    headers["grpc-status"] = errors.grpc_status(problem.code)
    return handle:respond(headers, problem.code .. ": " .. problem.text)
  end

  -- Send what errors.raise raised; anything else is a mistake of these scripts and fails closed as INTERNAL.
  function errors.respond(handle, problem, context)
    if type(problem) ~= "table" then
      handle:logErr("edge script failed: " .. tostring(problem))
      problem = { code = "INTERNAL", text = "the edge could not check this request" }
    end
    context.code = problem.code
    handle:streamInfo():dynamicMetadata():set("slipway", "request", context)
    local headers = problem.headers or {}
    headers["x-slipway-error"] = problem.code
    if context.grpc then return respond_grpc(handle, problem, headers) end
    return respond_http(handle, problem, headers, context)
  end
end
