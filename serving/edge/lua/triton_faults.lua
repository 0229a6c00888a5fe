-- What Triton 2.51 says when something is wrong, over both transports.
do
  -- Whole sentences from their start: what a text quotes may be a client's, and would else be taken for Triton's word.
  local NAME = "'?[%w_.%-]+'?"
  -- Of a model whose process died
  local DEAD_STUB = "^Stub process '?([%w_.%-]*)'? ?is not healthy%.?$"
  -- Of a model that is not there, or between unload and load
  local ABSENT = {
    "^Request for unknown model: " .. NAME .. " is not found$",
    "^Request for unknown model: " .. NAME .. " version %d+ is not found$",
    "^Request for unknown model: " .. NAME .. " version %d+ is not at ready state$",
    "^Request for unknown model: " .. NAME .. " has no available versions$",
    "^Model version not ready$",
    "^requested model " .. NAME .. " is not available$",
    "^requested model version is not available for model " .. NAME .. "$",
  }
  -- Our adapter about a network that it calls: its code, then Triton's own text, see handlers/bls.py
  local OF_NETWORK = "^[A-Z_]+: the network [%w_.%-]+ [%a ]+; observed ([^;]*)"

  -- What its parsers say, with status 500 or INTERNAL, of requests that the edge's own checks let pass
  local UNREADABLE = {
    ["^[Uu]nable to parse request"] = "REQUEST_MALFORMED",
    ["^failed to parse the request JSON buffer"] = "REQUEST_MALFORMED",
    ["^Unable to parse '"] = "REQUEST_INVALID",
  }

  -- Triton's own words: of a network, where one was asked
  local function own_words(text)
    return string.match(text, OF_NETWORK) or text
  end

  -- The text of the V2 error object {"error": "..."}; a body of another form is its own text
  function faults.text_of(body)
    local written = string.match(body, '^%s*{%s*"error"%s*:%s*"(.*)"%s*}%s*$')
    if not written then return body end
    return faults.unescape_json(written)
  end

  -- -> the name of the model instance whose process died, else nil
  function faults.of_dead_stub(text)
    return string.match(own_words(text), DEAD_STUB)
  end

  function faults.of_absent_version(text)
    text = own_words(text)
    for _, sentence in ipairs(ABSENT) do
      if string.find(text, sentence) then return true end
    end
    return false
  end

  -- -> code, text (nil: the server's), HTTP status of what needs more than its status to be understood; else nil
  function faults.special(text)
    if faults.of_dead_stub(text) then return "SERVER_UNAVAILABLE", "the model is being restarted", 503 end
    for start, code in pairs(UNREADABLE) do
      if string.find(text, start) then return code, nil, 400 end
    end
    return nil
  end
end
