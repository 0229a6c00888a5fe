-- Strict JSON scanner (RFC 8259) over one string: checks, counts and finds, builds no tree and never recurses past
-- MAX_DEPTH. Triton parses with RapidJSON, which dies on deep nesting and takes the NaN and Infinity literals.
local json = { MAX_DEPTH = 32, MAX_MEMBERS = 64 }
do
  local byte, sub, find = string.byte, string.sub, string.find
  local QUOTE, COMMA, COLON, BACKSLASH = 34, 44, 58, 92
  local OPEN_LIST, CLOSE_LIST, OPEN_MAP, CLOSE_MAP = 91, 93, 123, 125

  local function seen(text, at)
    local char = sub(text, at, at)
    return char == "" and "the end of the text" or "'" .. errors.shown(char) .. "'"
  end

  function json.fail(text, at, expected)
    errors.raise(
      "REQUEST_MALFORMED",
      "the body is not valid JSON: expected " .. expected .. " at byte " .. (at - 1) .. ", saw " .. seen(text, at)
    )
  end
  local fail = json.fail

  -- -> index and byte of the next character that is not white space
  function json.space(text, at)
    local char = byte(text, at)
    while char == 32 or char == 10 or char == 13 or char == 9 do
      at = at + 1
      char = byte(text, at)
    end
    return at, char
  end
  local space = json.space

  -- A multi-byte UTF-8 sequence starts at `at`: -> its length, or nil and where it ends to be one. Overlong forms and
  -- surrogates are none.
  local function utf8_length(text, at, char)
    local length, low, high = 0, 0x80, 0xBF
    if char >= 0xC2 and char <= 0xDF then
      length = 2
    elseif char >= 0xE0 and char <= 0xEF then
      length = 3
      if char == 0xE0 then low = 0xA0 elseif char == 0xED then high = 0x9F end
    elseif char >= 0xF0 and char <= 0xF4 then
      length = 4
      if char == 0xF0 then low = 0x90 elseif char == 0xF4 then high = 0x8F end
    else
      return nil, at
    end
    for step = 1, length - 1 do
      local next_char = byte(text, at + step)
      if not next_char or next_char < low or next_char > high then return nil, at + step end
      low, high = 0x80, 0xBF
    end
    return length
  end

  function json.is_utf8(text)
    local at = find(text, "[\128-\255]")
    while at do
      local length = utf8_length(text, at, byte(text, at))
      if not length then return false end
      at = find(text, "[\128-\255]", at + length)
    end
    return true
  end

  local function escape_length(text, at)
    if find(text, '^["\\/bfnrt]', at + 1) then return 2 end
    local unit = tonumber(string.match(text, "^u(%x%x%x%x)", at + 1) or fail(text, at + 1, "an escape"), 16)
    if unit < 0xD800 or unit > 0xDFFF then return 6 end
    if unit < 0xDC00 and find(text, "^\\u[dD][c-fC-F]%x%x", at + 6) then return 12 end
    return fail(text, at, "a surrogate pair")
  end

  -- text[at] is the opening quote: -> index after the closing one
  function json.string(text, at)
    local start = at
    at = at + 1
    while true do
      local char = byte(text, at)
      if char == QUOTE then
        return at + 1
      elseif not char then
        fail(text, at, "the end of the string that starts at byte " .. (start - 1))
      elseif char == BACKSLASH then
        at = at + escape_length(text, at)
      elseif char < 32 then
        fail(text, at, "no control character in a string")
      elseif char < 128 then
        at = at + 1
      else
        local length, wrong = utf8_length(text, at, char)
        at = at + (length or fail(text, wrong, "UTF-8"))
      end
    end
  end

  local function digits(text, at)
    local char = byte(text, at)
    if not char or char < 48 or char > 57 then fail(text, at, "a digit") end
    local value = 0
    while char and char >= 48 and char <= 57 do
      value = value * 10 + char - 48
      at = at + 1
      char = byte(text, at)
    end
    return at, char, value
  end

  -- text[at] starts a number: -> index after it, its value, whether it is written as an integer.
  -- The value is exact for integers up to 2^53 and near enough for others to judge the
  -- ranges of FP32 and FP64. What overflows a double is refused, as RapidJSON does.
  function json.number(text, at)
    local start, char = at, byte(text, at)
    local negative = char == 45
    if negative then at = at + 1 end
    local first, value = at, nil
    at, char, value = digits(text, at)
    if byte(text, first) == 48 and at > first + 1 then fail(text, first, "a number without leading zeros") end
    local integral = char ~= 46 and char ~= 101 and char ~= 69
    if char == 46 then at, char = digits(text, at + 1) end
    if char == 101 or char == 69 then
      local sign, exponent = byte(text, at + 1), nil
      at, char, exponent = digits(text, (sign == 43 or sign == 45) and at + 2 or at + 1)
      -- Exact only where it may matter for a range: a conversion of each number would cost five times the scan.
      local scaled = (value + 1) * 10 ^ (sign == 45 and -exponent or exponent)
      value = scaled < 1e30 and scaled or math.abs(tonumber(sub(text, start, at - 1)))
    end
    if value == math.huge then fail(text, start, "a number below 1.8e308") end
    return at, negative and -value or value, integral
  end

  -- text[at] starts true, false or null: -> index after it, the word
  function json.word(text, at)
    local word = string.match(text, "^%l+", at)
    if word ~= "true" and word ~= "false" and word ~= "null" then fail(text, at, "a JSON value") end
    return at + #word, word
  end

  -- A value must start here: without this, visitors would meet the end of a cut body as a nil byte
  local function value_start(text, at)
    local char
    at, char = space(text, at)
    if not char then fail(text, at, "a JSON value") end
    return at, char
  end

  -- The kind of a value by its first byte, nil at the end; "true" and "false" are kinds of their own
  function json.kind(char)
    if not char then return "nothing" end
    if char == QUOTE then return "string" end
    if char == OPEN_LIST then return "array" end
    if char == OPEN_MAP then return "object" end
    if char == 116 then return "true" elseif char == 102 then return "false" elseif char == 110 then return "null" end
    if char == 45 or char >= 48 and char <= 57 then return "number" end
    return "no JSON value"
  end

  local function deeper(depth)
    if depth >= json.MAX_DEPTH then
      errors.raise("REQUEST_MALFORMED", "the body nests deeper than " .. json.MAX_DEPTH .. " levels")
    end
    return depth + 1
  end

  -- text[at] is "[": calls visit(index, byte) -> index after the element, for each; -> index after "]"
  function json.array(text, at, depth, visit)
    depth = deeper(depth)
    local char
    at, char = value_start(text, at + 1)
    if char == CLOSE_LIST then return at + 1 end
    while true do
      at, char = space(text, visit(at, char, depth))
      if char == CLOSE_LIST then return at + 1 end
      if char ~= COMMA then fail(text, at, "',' or ']'") end
      at, char = value_start(text, at + 1)
    end
  end

  local function member_key(text, at, char)
    if char ~= QUOTE then fail(text, at, "a string as key") end
    local stop = json.string(text, at)
    local key = sub(text, at + 1, stop - 2)
    at, char = space(text, stop)
    if char ~= COLON then fail(text, at, "':'") end
    at, char = value_start(text, at + 1)
    return key, at, char
  end

  -- text[at] is "{": calls visit(key, index, byte) -> index after the value, for each member; -> index after "}".
  -- Duplicate and escaped keys are refused: two parsers may read them differently.
  function json.object(text, at, depth, visit)
    depth = deeper(depth)
    local char, key
    local known, count = {}, 0
    at, char = space(text, at + 1)
    if char == CLOSE_MAP then return at + 1 end
    while true do
      local start = at
      key, at, char = member_key(text, at, char)
      count = count + 1
      if known[key] then fail(text, start, "no second key " .. errors.shown(key)) end
      if find(key, "\\", 1, true) then fail(text, start, "a key without escapes") end
      if count > json.MAX_MEMBERS then fail(text, start, "at most " .. json.MAX_MEMBERS .. " keys") end
      known[key] = true
      at, char = space(text, visit(key, at, char, depth))
      if char == CLOSE_MAP then return at + 1 end
      if char ~= COMMA then fail(text, at, "',' or '}'") end
      at, char = space(text, at + 1)
    end
  end

  -- Check any value without looking at its meaning: -> index after it
  function json.skip(text, at, char, depth)
    if char == QUOTE then return json.string(text, at) end
    if char == 45 or (char and char >= 48 and char <= 57) then return (json.number(text, at)) end
    if char == OPEN_LIST then
      return json.array(text, at, depth, function(index, first, inner)
        return json.skip(text, index, first, inner)
      end)
    end
    if char == OPEN_MAP then
      return json.object(text, at, depth, function(_, index, first, inner)
        return json.skip(text, index, first, inner)
      end)
    end
    return (json.word(text, at))
  end
end
