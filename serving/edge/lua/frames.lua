-- gRPC bodies of one uncompressed message, and the fields that name a model in the request messages of both protocols.
-- Field numbers: https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto and
-- inference.proto of TorchServe: 1 is the model's name, 2 its version.
local frames = {}
do
  local byte, char, sub = string.byte, string.char, string.sub
  local FRAME = 5 -- one flag byte, four bytes of length

  -- body: the buffer of a whole gRPC body. -> the one message in it
  function frames.message(body)
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
  function frames.frame(message, field)
    local n = #message + #field
    local d = n % 256
    local c = (n - d) / 256 % 256
    local b = math.floor(n / 65536) % 256
    local a = math.floor(n / 16777216)
    return char(0, a, b, c, d) .. message .. field
  end

  function frames.text_field(text, wire, first, last, label)
    if wire ~= 2 then protobuf.fail(label .. " is not a string") end
    local found = sub(text, first, last)
    if not json.is_utf8(found) then protobuf.fail(label .. " is not UTF-8") end
    return found
  end

  -- -> model name and version ("" when absent) of any request message of the protocol: fields 1 and 2 of each
  function frames.target(message)
    local name, version = "", ""
    protobuf.fields(message, 1, #message, function(field, wire, first, last)
      if field == 1 then
        name = frames.text_field(message, wire, first, last, "the model name")
      elseif field == 2 then
        version = frames.text_field(message, wire, first, last, "the model version")
      end
    end)
    return name, version
  end
end
