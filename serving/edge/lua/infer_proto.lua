-- Checks gRPC messages of the V2 protocol: one uncompressed frame, tensors with shapes that cannot overflow.
-- Field numbers: https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto
local infer_proto = {}
do
  local byte, char, sub = string.byte, string.char, string.sub
  local FRAME = 5 -- one flag byte, four bytes of length

  -- body: the buffer of a whole gRPC body. -> the one message in it
  function infer_proto.message(body)
    local held = body:length() - FRAME
    if held < 0 then
      errors.raise("REQUEST_MALFORMED", "the gRPC body has " .. body:length() .. " bytes; expected one frame")
    end
    local flag, a, b, c, d = byte(body:getBytes(0, FRAME), 1, FRAME)
    if flag == 1 then
      errors.raise("MEDIA_TYPE_UNSUPPORTED", "compressed gRPC messages are not taken; send them uncompressed", nil,
        { ["grpc-accept-encoding"] = "identity" })
    elseif flag ~= 0 then
      errors.raise("REQUEST_MALFORMED", "the gRPC frame has the flag " .. flag .. "; expected 0")
    end
    local declared = ((a * 256 + b) * 256 + c) * 256 + d
    if declared ~= held then
      errors.raise("REQUEST_MALFORMED", "the gRPC frame declares " .. declared .. " bytes, the body has " .. held
        .. "; expected exactly one message")
    end
    return held > 0 and body:getBytes(FRAME, held) or ""
  end

  -- The gRPC body that holds `message` and, appended, `field`; one copy, because messages are large
  function infer_proto.frame(message, field)
    local n = #message + #field
    local d = n % 256
    local c = (n - d) / 256 % 256
    local b = math.floor(n / 65536) % 256
    local a = math.floor(n / 16777216)
    return char(0, a, b, c, d) .. message .. field
  end

  local function text_field(text, wire, first, last, label)
    if wire ~= 2 then protobuf.fail(label .. " is not a string") end
    return sub(text, first, last)
  end

  -- -> model name and version ("" when absent) of any request message of the protocol: fields 1 and 2 of each
  function infer_proto.target(message)
    local name, version = "", ""
    protobuf.fields(message, 1, #message, function(field, wire, first, last)
      if field == 1 then
        name = text_field(message, wire, first, last, "the model name")
      elseif field == 2 then
        version = text_field(message, wire, first, last, "the model version")
      end
    end)
    return name, version
  end

  local function check_parameter(message, first, last, label)
    protobuf.fields(message, first, last, function(field, wire, from, to)
      if field == 1 then
        tensors.refuse_shared_memory(text_field(message, wire, from, to, "a parameter name"), label)
      end
    end)
  end

  local function check_shape(message, wire, first, last, value, shape, limit, label)
    if wire == 0 then
      tensors.grow(shape, value, limit, label)
    elseif wire == 2 then
      while first <= last do
        value, first = protobuf.varint(message, first, last)
        tensors.grow(shape, value, limit, label)
      end
    else
      protobuf.fail("a shape is not of integers")
    end
  end

  local function check_input(message, first, last, limit, label)
    local shape, datatype = { rank = 0, elements = 1 }, nil
    protobuf.fields(message, first, last, function(field, wire, from, to, value)
      if field == 1 then
        label = label .. " ('" .. errors.shown(text_field(message, wire, from, to, "a tensor name")) .. "')"
      elseif field == 2 then
        datatype = text_field(message, wire, from, to, "a datatype")
      elseif field == 3 then
        check_shape(message, wire, from, to, value, shape, limit, label)
      elseif field == 4 and wire == 2 then
        check_parameter(message, from, to, label)
      end
    end)
    tensors.size_of(datatype, label)
  end

  local function check_output(message, first, last, label)
    protobuf.fields(message, first, last, function(field, wire, from, to)
      if field == 2 and wire == 2 then check_parameter(message, from, to, label) end
    end)
  end

  -- message: a ModelInferRequest. Raises REQUEST_MALFORMED or REQUEST_INVALID.
  function infer_proto.check(message)
    local counts = { [5] = 0, [6] = 0, [7] = 0 }
    protobuf.fields(message, 1, #message, function(field, wire, first, last)
      if not counts[field] then return end
      if wire ~= 2 then protobuf.fail("field " .. field .. " has the wrong wire type") end
      counts[field] = counts[field] + 1
      if counts[field] > tensors.MAX_TENSORS then tensors.refuse_count() end
      if field == 5 then
        check_input(message, first, last, #message, "inputs[" .. (counts[5] - 1) .. "]")
      elseif field == 6 then
        check_output(message, first, last, "outputs[" .. (counts[6] - 1) .. "]")
      end
    end)
    if counts[7] > counts[5] then
      tensors.invalid("the request has " .. counts[7] .. " raw_input_contents for " .. counts[5] .. " inputs")
    end
    if counts[5] == 0 then tensors.invalid("'inputs' is empty; expected at least one tensor") end
  end
end
