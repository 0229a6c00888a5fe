-- What TorchServe 0.12 says when something is wrong: JSON {"code", "type", "message"} over HTTP, a text over gRPC.
do
  local SNIFFED = 16384 -- bytes of an answer that are looked at for an error of our handler
  local FRAME, PREDICTION = 5, 10 -- bytes of a gRPC frame's header; the tag of the field `prediction`
  -- How its own texts begin. They are matched from there: what comes later in a text may be a client's.
  local ABSENT = { "^Model not found", "^Model version: [^\n]- does not exist for model" }
  local NO_WORKER = '^Model "[^\n]- has no worker to serve'
  -- InternalServerException holds what a model raised.
  local UNREADY = {
    ModelNotFoundException = true, ModelVersionNotFoundException = true, ServiceUnavailableException = true,
  }
  -- Its own words, the code that they get, what clients are told instead, the HTTP status. A full queue and a version
  -- whose workers have not started yet have the same text.
  local SPECIAL = {
    { "Worker died", "SERVER_UNAVAILABLE", "the model's process ended while it had this request; try again", 503 },
    { "has no worker to serve", "SERVER_UNAVAILABLE", "the model takes no more requests at the moment", 503 },
    { "Out of resources", "SERVER_UNAVAILABLE", "the model has no memory left for this request", 503 },
    { "Prediction failed", "INTERNAL", "the model failed unexpectedly", 500 },
    { "number of batch response mismatched", "INTERNAL", "the model failed unexpectedly", 500 },
  }

  -- The JSON string whose content starts at `start`, to its end or that of `body`
  local function text_at(body, start)
    local stop = string.find(body, '[\\"]', start)
    while stop and string.byte(body, stop) == 92 do -- until the first quote that no backslash escapes
      stop = string.find(body, '[\\"]', stop + 2)
    end
    return faults.unescape_json(string.sub(body, start, (stop or 0) - 1))
  end

  local function member(body, name)
    local start = string.match(body, '"' .. name .. '"%s*:%s*"()')
    return start and text_at(body, start)
  end

  -- The message of an error object; a body of another form is its own text
  function faults.text_of(body)
    return member(body, "type") and member(body, "message") or body
  end

  function faults.of_absent_version(text)
    for _, phrase in ipairs(ABSENT) do
      if string.find(text, phrase) then return true end
    end
    return false
  end

  function faults.of_no_worker(text)
    return string.find(text, NO_WORKER) ~= nil
  end

  -- The message of the frontend's own error about a version that it cannot ask; nil for every other body, a model's
  -- answers among them
  function faults.of_frontend(body)
    local kind, start =
      string.match(body, '^%s*{%s*"code"%s*:%s*%d+%s*,%s*"type"%s*:%s*"([%w.]+)"%s*,%s*"message"%s*:%s*"()')
    return kind and UNREADY[kind] and text_at(body, start) or nil
  end

  function faults.special(text)
    for _, row in ipairs(SPECIAL) do
      if string.find(text, row[1], 1, true) then return row[2], row[3], row[4] end
    end
    return nil
  end

  -- body: an answer of our own handler, or its beginning. -> its code and text when it is an error, written as
  -- {"error": "CODE: text", "code": "CODE", ...}; no record of a task has such a field
  function faults.own(body)
    local code, start = string.match(body, '^%s*{%s*"error"%s*:%s*"([A-Z][A-Z0-9_]+): ()')
    if not code then return nil end
    return code, text_at(body, start)
  end

  -- Where the content of `prediction` begins in a frame, after its tag and its length; nil for another message
  local function content(frame)
    local at = FRAME + 1
    if string.byte(frame, at) ~= PREDICTION then return nil end
    repeat at = at + 1 until (string.byte(frame, at) or 0) < 128
    return at + 1
  end

  -- The frontend sends OK with whatever the handler answered, errors included (0.12).
  function faults.in_ok(body)
    local frame = body:getBytes(0, math.min(body:length(), SNIFFED))
    local start = content(frame)
    -- the answer itself: a list of answers may begin with the error of one image
    if start then return faults.own(string.sub(frame, start)) end
  end
end
