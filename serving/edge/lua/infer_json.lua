-- Checks the JSON of a V2 inference request, before Triton's parser meets it: form, types, shapes, sizes.
-- Form: https://github.com/kserve/open-inference-protocol, with Triton's binary data extension.
local infer_json = {}
do
  local invalid = tensors.invalid
  -- inclusive ranges; 64-bit ones are decided on the digits, because doubles are exact to 2^53 only
  local RANGES = {
    UINT8 = { 0, 255 }, UINT16 = { 0, 65535 }, UINT32 = { 0, 4294967295 },
    INT8 = { -128, 127 }, INT16 = { -32768, 32767 }, INT32 = { -2147483648, 2147483647 },
  }
  local LONGEST = { UINT64 = { "18446744073709551615", nil }, INT64 = { "9223372036854775807", "9223372036854775808" } }
  -- parameters that Triton reads itself: the JSON kind that it takes (any other kind is a 500 there)
  local PARAMETERS = {
    binary_data = "boolean", binary_data_output = "boolean", sequence_start = "boolean", sequence_end = "boolean",
    priority = "count", timeout = "count", classification = "count", binary_data_size = "count",
  }
  local LONGEST_SEQUENCE = 128 -- characters; 501 there

  local function expect(kind, char, label)
    local found = json.kind(char)
    if found ~= kind then invalid(label .. " is " .. found .. "; expected " .. kind) end
  end

  local function text_value(text, at, char, label)
    expect("string", char, label)
    local stop = json.string(text, at)
    return stop, string.sub(text, at + 1, stop - 2)
  end

  local function within_64_bits(digits, limits)
    local negative = string.byte(digits) == 45
    local limit = negative and limits[2] or limits[1]
    local magnitude = negative and string.sub(digits, 2) or digits
    if not limit or negative and not limits[2] then return magnitude == "0" end
    return #magnitude < #limit or #magnitude == #limit and magnitude <= limit
  end

  -- -> index after it, a whole number of 0 or more
  local function count_value(text, at, char, label)
    expect("number", char, label)
    local stop, value, integral = json.number(text, at)
    local written = string.sub(text, at, stop - 1)
    if not integral or value < 0 or not within_64_bits(written, LONGEST.UINT64) then
      invalid(label .. " is " .. errors.shown(written) .. "; expected a whole number of 0 or more, in 64 bits")
    end
    return stop, value
  end

  -- The id of a sequence is a text or a count.
  local function sequence_value(text, at, char, label)
    if char ~= 34 then return (count_value(text, at, char, label)) end
    local stop, value = text_value(text, at, char, label)
    if #value > LONGEST_SEQUENCE then
      invalid(label .. " has " .. #value .. " bytes; at most " .. LONGEST_SEQUENCE)
    end
    return stop
  end

  local function element_checker(datatype, label)
    local function wrong(text, at, stop)
      local written = errors.shown(string.sub(text, at, stop - 1))
      invalid(label .. " has the element " .. written .. ", which is not " .. datatype)
    end
    if datatype == "FP16" or datatype == "BF16" then
      invalid(label .. " has JSON data of datatype " .. datatype .. ", which has no JSON form; send it as binary data")
    end
    if datatype == "BYTES" then
      return function(text, at, char)
        if char == 34 then return json.string(text, at) end
        return wrong(text, at, json.skip(text, at, char, 0))
      end
    end
    if datatype == "BOOL" then
      return function(text, at, char)
        if char == 116 or char == 102 then return (json.word(text, at)) end
        return wrong(text, at, json.skip(text, at, char, 0))
      end
    end
    local range, longest = RANGES[datatype], LONGEST[datatype]
    local largest = datatype == "FP32" and 3.4028235677973366e38 or math.huge
    return function(text, at, char)
      if char ~= 45 and (not char or char < 48 or char > 57) then
        wrong(text, at, json.skip(text, at, char, 0))
      end
      local stop, value, integral = json.number(text, at)
      if range then
        if not integral or value < range[1] or value > range[2] then wrong(text, at, stop) end
      elseif longest then
        if not integral or not within_64_bits(string.sub(text, at, stop - 1), longest) then wrong(text, at, stop) end
      elseif value > largest or value < -largest then
        wrong(text, at, stop)
      end
      return stop
    end
  end

  -- text[at] starts `data`, flat or nested: -> index after it, number of elements
  local function count_elements(text, at, char, depth, datatype, label)
    expect("array", char, label .. ".data")
    local check, count = element_checker(datatype, label), 0
    local function visit(index, first, inner)
      if first == 91 then
        return json.array(text, index, inner, visit)
      end
      count = count + 1
      return check(text, index, first)
    end
    return json.array(text, at, depth, visit), count
  end

  local function parameters(text, at, char, depth, label)
    expect("object", char, label .. ".parameters")
    local found = {}
    local stop = json.object(text, at, depth, function(key, index, first)
      local kind, name = json.kind(first), label .. ".parameters." .. errors.shown(key)
      tensors.refuse_shared_memory(key, label)
      if PARAMETERS[key] == "count" then
        index, found[key] = count_value(text, index, first, name)
        return index
      end
      if key == "sequence_id" then return sequence_value(text, index, first, name) end
      if kind == "array" or kind == "object" or kind == "null" then
        invalid(name .. " is " .. kind .. "; expected a string, a number or a boolean")
      end
      if PARAMETERS[key] == "boolean" and kind ~= "true" and kind ~= "false" then
        invalid(name .. " is " .. kind .. "; expected true or false")
      end
      return json.skip(text, index, first, depth)
    end)
    return stop, found
  end

  local function shape_value(text, at, char, depth, limit, label)
    expect("array", char, label .. ".shape")
    local shape = { rank = 0, elements = 1 }
    local stop = json.array(text, at, depth, function(index, first)
      local after, dimension
      expect("number", first, label .. ".shape has an element that")
      after, dimension = json.number(text, index)
      local written = string.sub(text, index, after - 1)
      if not string.find(written, "^-?%d+$") then
        invalid(label .. ".shape has the element " .. errors.shown(written) .. "; expected whole numbers")
      end
      tensors.grow(shape, dimension, limit, label)
      return after
    end)
    return stop, shape
  end

  local function read_input(text, at, depth, limit, label)
    local input = { label = label }
    local stop = json.object(text, at, depth, function(key, index, char, inner)
      if key == "name" then
        index, input.name = text_value(text, index, char, label .. ".name")
        tensors.check_name(input.name, label)
        input.label = label .. " ('" .. errors.shown(input.name) .. "')"
      elseif key == "datatype" then
        index, input.datatype = text_value(text, index, char, label .. ".datatype")
        input.size = tensors.size_of(input.datatype, input.label)
      elseif key == "shape" then
        index, input.shape = shape_value(text, index, char, inner, limit, input.label)
      elseif key == "parameters" then
        index, input.parameters = parameters(text, index, char, inner, input.label)
      elseif key == "data" then
        input.data_at, input.data_char, input.data_depth = index, char, inner
        if input.datatype then
          index, input.elements = count_elements(text, index, char, inner, input.datatype, input.label)
        else
          index = json.skip(text, index, char, inner)
        end
      else
        index = json.skip(text, index, char, inner)
      end
      return index
    end)
    return stop, input
  end

  local function check_binary(input, declared)
    local bytes = input.shape.elements * input.size
    if input.datatype == "BYTES" and bytes > declared or input.datatype ~= "BYTES" and bytes ~= declared then
      invalid(input.label .. " declares binary_data_size " .. declared .. "; its shape and datatype need "
        .. (input.datatype == "BYTES" and "at least " or "") .. bytes .. " bytes")
    end
  end

  -- -> bytes of binary data that this input takes
  local function check_input(text, input, has_binary)
    for _, key in ipairs({ "name", "datatype", "shape" }) do
      if not input[key] then invalid(input.label .. " has no '" .. key .. "'") end
    end
    local declared = input.parameters and input.parameters.binary_data_size
    if declared then
      if input.data_at then invalid(input.label .. " has both 'data' and binary_data_size") end
      if not has_binary then
        invalid(input.label .. " declares binary data, but the header Inference-Header-Content-Length is not set")
      end
      check_binary(input, declared)
      return declared
    end
    if not input.data_at then invalid(input.label .. " has neither 'data' nor binary_data_size") end
    if not input.elements then
      local _
      _, input.elements =
        count_elements(text, input.data_at, input.data_char, input.data_depth, input.datatype, input.label)
    end
    if input.elements ~= input.shape.elements then
      invalid(input.label .. " has " .. input.elements .. " elements of data; its shape needs "
        .. string.format("%.0f", input.shape.elements))
    end
    return 0
  end

  local function once(names, name, label)
    if names[name] then invalid(label .. " has the same name as another one") end
    names[name], names[1] = true, (names[1] or 0) + 1
    if names[1] > tensors.MAX_TENSORS then tensors.refuse_count() end
  end

  local function read_inputs(text, at, char, depth, limit, has_binary, found)
    expect("array", char, "inputs")
    local names = {}
    found.binary = 0
    return json.array(text, at, depth, function(index, first, inner)
      local label = "inputs[" .. (names[1] or 0) .. "]"
      expect("object", first, label)
      local stop, input = read_input(text, index, inner, limit, label)
      found.binary = found.binary + check_input(text, input, has_binary)
      once(names, "=" .. input.name, input.label)
      found.inputs = names[1]
      return stop
    end)
  end

  local function read_outputs(text, at, char, depth)
    expect("array", char, "outputs")
    local names = {}
    return json.array(text, at, depth, function(index, first, inner)
      local label, name = "outputs[" .. (names[1] or 0) .. "]", nil
      expect("object", first, label)
      local stop = json.object(text, index, inner, function(key, value_at, value_char, deep)
        if key == "name" then
          value_at, name = text_value(text, value_at, value_char, label .. ".name")
          tensors.check_name(name, label)
          return value_at
        elseif key == "parameters" then
          local stop, found = parameters(text, value_at, value_char, deep, label)
          if (found.classification or 0) > 0 then tensors.refuse_classification(label) end
          return stop
        end
        return json.skip(text, value_at, value_char, deep)
      end)
      if not name then invalid(label .. " has no 'name'") end
      once(names, "=" .. name, label .. " ('" .. errors.shown(name) .. "')")
      return stop
    end)
  end

  -- text: the JSON part of the body. total: bytes of the whole body. binary: bytes after the JSON, nil without any
  -- binary data extension. Returns when Triton can be trusted with it; raises REQUEST_MALFORMED or REQUEST_INVALID.
  function infer_json.check(text, total, binary)
    local at, char = json.space(text, 1)
    if not char then errors.raise("REQUEST_MALFORMED", "the body is empty; expected a V2 inference request in JSON") end
    if char ~= 123 then
      json.skip(text, at, char, 0)
      errors.raise("REQUEST_MALFORMED", "the body is " .. json.kind(char) .. "; expected a JSON object with 'inputs'")
    end
    local found = {}
    at = json.object(text, at, 0, function(key, index, first, depth)
      if key == "inputs" then
        found.seen = true
        return read_inputs(text, index, first, depth, total, binary ~= nil, found)
      elseif key == "outputs" then
        return read_outputs(text, index, first, depth)
      elseif key == "parameters" then
        return (parameters(text, index, first, depth, "the request"))
      elseif key == "id" then
        return (text_value(text, index, first, "id"))
      end
      return json.skip(text, index, first, depth)
    end)
    at, char = json.space(text, at)
    if char then json.fail(text, at, "nothing after the object") end
    if not found.seen then errors.raise("REQUEST_MALFORMED", "the body has no 'inputs'") end
    if not found.inputs then invalid("'inputs' is empty; expected at least one tensor") end
    if found.binary ~= (binary or 0) then
      invalid("the inputs declare " .. found.binary .. " bytes of binary data; the body has " .. (binary or 0))
    end
  end
end
