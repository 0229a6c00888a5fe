-- Reads a server's own errors: which code they get, what of their text a client may see. The engine's file after this
-- one adds what it alone says: text_of, of_absent_version, special, own.
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

  -- body: an answer of our own handler. -> its code, detail where it is one that passes unchanged; else nil
  function faults.own(body)
    return nil
  end

  -- frame: a gRPC answer whose status is OK. -> as of `own`, where the engine sends the errors of our handlers so
  faults.in_ok = nil

  -- The content of a JSON string as plain text for people
  function faults.unescape_json(written)
    local plain = { b = "", f = "", n = "\n", r = "", t = " " }
    written = string.gsub(written, "\\u%x%x%x%x", "?")
    return (string.gsub(written, "\\(.)", function(char) return plain[char] or char end))
  end

  function faults.unescape_grpc(message)
    return (string.gsub(message, "%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
  end

  -- The text of an answer that is an error; nil of others. read(body) -> the text in an HTTP answer's body
  function faults.said(handle, read)
    local headers = handle:headers()
    local grpc_status = headers:get("grpc-status")
    if grpc_status and grpc_status ~= "0" then return faults.unescape_grpc(headers:get("grpc-message") or "") end
    if tonumber(headers:get(":status")) < 400 then return nil end
    local body = handle:body(true)
    return read(body:getBytes(0, math.min(body:length(), 65536)))
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
    text = string.gsub(text, "%s*org%.pytorch%.[%w_.$]*", "") -- names of Java's exceptions
    text = string.gsub(string.gsub(text, "%s+$", ""), "[%c]+", "; ")
    return string.sub(text, 1, 2000)
  end

  -- The servers say "not at ready state" or "not found" of a version that is published and not loaded, and of one that
  -- does not exist; the edge knows neither's files, so the text covers both.
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
    local special, said, known = faults.special(text)
    if special then return special, said or text, known end
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
    local changed = { [400] = grpc_status == 13 and 3, [404] = 5, [500] = grpc_status == 14 and 13, [503] = 14 }
    grpc_status = changed[status] or grpc_status
    return code, clean, grpc_status
  end
end
