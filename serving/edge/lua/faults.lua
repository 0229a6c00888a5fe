-- Reads Triton's own errors: which code they get, what of their text a client may see.
local faults = {}
do
  local CODE = "^[A-Z][A-Z0-9]*_[A-Z0-9_]+: " -- texts of our own handlers, see slipway/errors.py
  local BY_STATUS = {
    [400] = "REQUEST_INVALID", [404] = "MODEL_NOT_FOUND", [405] = "ENDPOINT_UNKNOWN", [408] = "REQUEST_TIMEOUT",
    [413] = "REQUEST_TOO_LARGE", [415] = "MEDIA_TYPE_UNSUPPORTED", [499] = "REQUEST_TIMEOUT",
    [501] = "ENDPOINT_UNKNOWN", [503] = "SERVER_UNAVAILABLE",
  }
  local HTTP_OF_GRPC = { -- gRPC status -> the HTTP status whose code fits
    [1] = 499, [3] = 400, [4] = 408, [5] = 404, [8] = 413, [9] = 400, [11] = 400, [12] = 501, [14] = 503,
  }
  -- Messages of Triton 2.51 for a model whose process died, or that is between unload and load
  local DEAD_STUB = "Stub process '?(.-)'? is not healthy"
  local ABSENT = { "is not found", "not at ready state", "no available versions", "not ready", "is not available" }

  -- What its parsers say, with status 500 or INTERNAL, of requests that the edge's own checks let pass
  local UNREADABLE = {
    ["unable to parse request"] = "REQUEST_MALFORMED",
    ["failed to parse the request JSON buffer"] = "REQUEST_MALFORMED",
    ["Unable to parse '"] = "REQUEST_INVALID",
  }

  -- The text of the V2 error object {"error": "..."}; a body of another form is its own text
  function faults.text_of(body)
    local written = string.match(body, '^%s*{%s*"error"%s*:%s*"(.*)"%s*}%s*$')
    if not written then return body end
    local plain = { b = "", f = "", n = "\n", r = "", t = " " }
    written = string.gsub(written, "\\u%x%x%x%x", "?")
    return (string.gsub(written, "\\(.)", function(char) return plain[char] or char end))
  end

  function faults.unescape_grpc(message)
    return (string.gsub(message, "%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
  end

  -- Percent-encoding of grpc-message: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
  function faults.escape_grpc(text)
    return (string.gsub(text, "[^\32-\36\38-\126]", function(char)
      return string.format("%%%02X", string.byte(char))
    end))
  end

  -- Without stack traces, which name paths of the server, and on one line of at most 2000 bytes
  function faults.clean(text)
    text = string.gsub(text, "\n*At:\n.*$", "")
    text = string.gsub(text, "Traceback %(most recent call last%).*$", "")
    text = string.gsub(text, "^%[request id: <id_unknown>%] ", "")
    text = string.gsub(string.gsub(text, "%s+$", ""), "[%c]+", "; ")
    return string.sub(text, 1, 2000)
  end

  -- -> the name of the model instance whose process died, else nil
  function faults.of_dead_stub(text)
    return string.match(text, DEAD_STUB)
  end

  function faults.of_absent_version(text)
    for _, phrase in ipairs(ABSENT) do
      if string.find(text, phrase, 1, true) then return true end
    end
    return false
  end

  -- Triton says "not at ready state" or "not found" of a version that is published and not loaded, and of one that does
  -- not exist; the edge knows neither's files, so the text covers both.
  local function not_loaded(context, text)
    if not context.version or not faults.of_absent_version(text) then return text end
    return "version " .. context.version .. " of " .. context.model .. " is not loaded on this server, which holds"
      .. " the stable, the previous and the newest version of each model"
  end

  -- status: HTTP. context: what the request filter noted. -> code, text without code, HTTP status to answer with
  function faults.classify(status, text, context)
    text = faults.clean(text)
    local coded = string.match(text, CODE)
    if coded then return string.sub(coded, 1, -3), string.sub(text, #coded + 1), status end
    if faults.of_dead_stub(text) then return "SERVER_UNAVAILABLE", "the model is being restarted", 503 end
    for phrase, code in pairs(UNREADABLE) do
      if string.find(text, phrase, 1, true) then return code, text, 400 end
    end
    if context.routed and status ~= 503 and faults.of_absent_version(text) then
      return "SERVER_UNAVAILABLE", "the model is not loaded at the moment", 503
    end
    if status == 404 or faults.of_absent_version(text) then
      if context.known then return "VERSION_NOT_FOUND", not_loaded(context, text), 404 end
      return "MODEL_NOT_FOUND", text, 404
    end
    return BY_STATUS[status] or "INTERNAL", text, status
  end

  function faults.classify_grpc(grpc_status, text, context)
    local code, clean, status = faults.classify(HTTP_OF_GRPC[grpc_status] or 500, text, context)
    grpc_status = ({ [400] = grpc_status == 13 and 3, [404] = 5, [503] = 14 })[status] or grpc_status
    return code, clean, grpc_status
  end
end
