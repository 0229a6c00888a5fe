-- Turns a server's errors into the edge's own: with a code and a request id, and without stack traces.
local answers = {}
do
  -- `context.answer` of the way in: of a request whose answer needs a word even when it is good; nil of others
  function answers.kept(handle)
    local noted = handle:streamInfo():dynamicMetadata():get("slipway.answer")
    return noted and noted.kept
  end

  -- The context of the way in, as request.lua noted it. Envoy makes the Lua value anew, so only errors ask.
  function answers.context_of(handle)
    local noted = handle:streamInfo():dynamicMetadata():get("slipway")
    return noted and noted.request or { id = "", grpc = false }
  end

  local function note_code(handle, context, code)
    context.code = code
    handle:streamInfo():dynamicMetadata():set("slipway", "request", context)
  end

  function answers.wrap_http(handle, status)
    local context, body = answers.context_of(handle), handle:body(true)
    local written = body:getBytes(0, math.min(body:length(), 65536))
    local headers, own = handle:headers(), faults.own(written)
    if own then -- said by a handler of ours, in the edge's own form and with more in it
      note_code(handle, context, own)
      return headers:replace("x-slipway-error", own)
    end
    local code, clean, answer = faults.classify(status, faults.text_of(written), context)
    note_code(handle, context, code)
    headers:replace(":status", tostring(answer))
    headers:replace("content-type", "application/json")
    headers:replace("x-slipway-error", code)
    body:setBytes(errors.http_body(code, errors.valid(clean), context.id))
  end

  -- fields: the headers or trailers that hold grpc-status
  function answers.fail_grpc(handle, fields, context, code, text, grpc_status)
    note_code(handle, context, code)
    fields:replace("grpc-status", tostring(grpc_status))
    fields:replace("grpc-message", faults.escape_grpc(code .. ": " .. text))
    fields:replace("x-slipway-error", code)
  end

  function answers.wrap_grpc(handle, fields)
    local grpc_status = tonumber(fields:get("grpc-status"))
    if not grpc_status or grpc_status == 0 then return end
    local context = answers.context_of(handle)
    local text = faults.unescape_grpc(fields:get("grpc-message") or "")
    local code, clean, answer = faults.classify_grpc(grpc_status, text, context)
    answers.fail_grpc(handle, fields, context, code, clean, answer)
  end
end
