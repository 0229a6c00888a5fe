-- What Triton 2.51 says when something is wrong, over both transports.
do
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
    return faults.unescape_json(written)
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

  -- -> code, text (nil: the server's), HTTP status of what needs more than its status to be understood; else nil
  function faults.special(text)
    if faults.of_dead_stub(text) then return "SERVER_UNAVAILABLE", "the model is being restarted", 503 end
    for phrase, code in pairs(UNREADABLE) do
      if string.find(text, phrase, 1, true) then return code, nil, 400 end
    end
    return nil
  end
end
