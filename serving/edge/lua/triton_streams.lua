-- ModelStreamInfer: every message is checked as ModelInfer's are before Triton sees it, and gets the stable version
-- when it names none. Streams take no part in experiments: one stream may carry many units.
--
-- A script cannot end a stream whose headers have passed. So a refused message is replaced by one for a model whose
-- name is the refusal: Triton answers that there is no such model, in the stream, and its text is put right on the way
-- back. Messages: ModelInferRequest and ModelStreamInferResponse{error_message = 1, infer_response = 2}.
local triton_streams = {}
do
  local MOST_UNANSWERED = 1024 -- messages of one stream: each is a request that waits in Triton
  local SLOTS = 65536 -- of streams that are open: nothing tells a script that one was broken off
  local LONGEST_TEXT, LONGEST_ID = 1000, 128 -- bytes
  local LARGEST = 4294967295 -- bytes of an answer: what a frame can declare
  local REFUSED = "Request for unknown model: '([A-Z][A-Z_]+): (.*)' is not found$"
  local OF_MODEL = "Failed to process the request" -- how the texts of exceptions in models begin
  local SWEEP_ABOVE = 1048576 -- bytes; larger pieces leave large strings, which are returned at once
  local open, serial = {}, 0

  local function id_of(message)
    local found = ""
    pcall(protobuf.fields, message, 1, #message, function(field, wire, first, last)
      if field == 3 and wire == 2 and last - first < LONGEST_ID then found = string.sub(message, first, last) end
    end)
    return string.find(found, "^[\32-\126]*$") and found or ""
  end

  -- The message that Triton gets in place of a refused one
  local function refusal(problem, message)
    local text = string.sub(problem.code .. ": " .. problem.text, 1, LONGEST_TEXT)
    text = string.gsub(text, "[^\32-\126]", "?")
    return frames.frame(protobuf.string_field(1, text) .. protobuf.string_field(3, id_of(message)), "")
  end

  local function checked(handle, message, context)
    local name, version = frames.target(message)
    local own, chosen = { id = context.id }, nil
    version, chosen = versions.choose(handle, name, version, own, false)
    infer_proto.check(message)
    context.model = name
    return frames.frame(message, chosen and protobuf.string_field(2, version) or "")
  end

  -- problem: nil, or why the message is not read. -> what Triton gets in its place
  local function judged(handle, context, state, message, problem)
    state.unanswered = state.unanswered + 1
    if state.unanswered > 2 * MOST_UNANSWERED then return "" end -- a client that does not read gets nothing more
    local good, result = pcall(function()
      if problem then error(problem, 0) end
      if state.unanswered > MOST_UNANSWERED then
        errors.raise("SERVER_UNAVAILABLE", "more than " .. MOST_UNANSWERED .. " messages of this stream are unanswered")
      end
      return checked(handle, message, context)
    end)
    if good then return result end
    if type(result) ~= "table" then
      handle:logErr("edge script failed: " .. tostring(result))
      result = { code = "INTERNAL", text = "the edge could not check this message" }
    end
    context.code = result.code
    return refusal(result, message)
  end

  local function unread(limit, flag, length)
    if flag == 1 then
      return { code = "MEDIA_TYPE_UNSUPPORTED",
        text = "compressed gRPC messages are not taken; send them uncompressed" }
    elseif flag ~= 0 then
      return { code = "REQUEST_MALFORMED", text = "the gRPC frame has the flag " .. flag .. "; expected 0" }
    end
    return { code = "REQUEST_TOO_LARGE", text = "the message has " .. length .. " bytes; at most " .. limit }
  end

  -- One piece of the body: nothing of it passes unless all went well
  local function pass(handle, context, feed, chunk)
    local good, passed = pcall(function()
      local found = feed(chunk:getBytes(0, chunk:length()))
      handle:streamInfo():dynamicMetadata():set("slipway", "request", context)
      return found
    end)
    chunk:setBytes(good and passed or "")
    if not good then handle:logErr("edge script failed: " .. tostring(passed)) end
    if good and #passed > SWEEP_ABOVE then collectgarbage("collect") end
    return good
  end

  -- Before the headers pass: what the log and the way back need. -> what is done with the body after that
  function triton_streams.request(handle, context)
    serial = (serial + 1) % SLOTS
    local state, limit = { unanswered = 0, cut = false }, context.limit
    context.answer, context.why, open[serial] = { stream = serial }, "stream", state
    return function()
      local feed, begun = streams.cutter(limit, function(message)
        return judged(handle, context, state, message)
      end, function(flag, length)
        return judged(handle, context, state, "", unread(limit, flag, length))
      end)
      for chunk in handle:bodyChunks() do
        -- after a mistake of these scripts nothing passes
        if not pass(handle, context, feed, chunk) then feed = function() return "" end end
      end
      state.cut = begun()
    end
  end

  -- The text of an error in the stream -> with its code, and without what clients must not see
  local function coded(text)
    local code, clean = string.match(text, REFUSED)
    if code then return code .. ": " .. clean end
    local status = string.find(text, OF_MODEL, 1, true) and 500 or 400
    code, clean = faults.classify(status, text, { known = true })
    return code .. ": " .. errors.valid(clean)
  end

  local function answered(message)
    local text, answer = "", ""
    protobuf.fields(message, 1, #message, function(field, wire, first, last)
      if field == 1 and wire == 2 then
        text = string.sub(message, first, last)
      elseif field == 2 and wire == 2 then
        answer = string.sub(message, first, last)
      end
    end)
    if text == "" then return frames.frame(message, "") end
    -- with an error, the answer holds its request's id
    local kept = #answer < 8192 and protobuf.string_field(2, answer) or ""
    return frames.frame(protobuf.string_field(1, string.sub(coded(text), 1, 8192)), kept)
  end

  local function answers_of(handle, state)
    local feed = streams.cutter(LARGEST, function(message)
      state.unanswered = math.max(0, state.unanswered - 1)
      local good, passed = pcall(answered, message)
      if good then return passed end
      handle:logErr("edge script failed: " .. tostring(passed))
      return frames.frame(protobuf.string_field(1, "INTERNAL: the edge could not read the answer"), "")
    end, function() return "" end)
    for chunk in handle:bodyChunks() do
      chunk:setBytes(feed(chunk:getBytes(0, chunk:length())))
    end
  end

  -- stream: its number, as noted by the way in
  function triton_streams.response(handle, headers, stream)
    local state = open[stream] or { unanswered = 0 }
    local fields = headers:get("grpc-status") and headers
    if not fields then
      answers_of(handle, state)
      fields = handle:trailers()
    end
    open[stream] = nil
    if not fields then return end
    if state.cut then
      local code, text = "REQUEST_MALFORMED", "the stream ended inside a message"
      return answers.fail_grpc(handle, fields, answers.context_of(handle), code, text, errors.grpc_status(code))
    end
    answers.wrap_grpc(handle, fields)
  end
end
