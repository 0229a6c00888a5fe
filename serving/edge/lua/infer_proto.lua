-- Checks gRPC messages of the V2 protocol: tensors with shapes that cannot overflow, texts of UTF-8. What its parser
-- cannot read Triton calls INTERNAL, as if a version had failed.
-- Field numbers: https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto
local infer_proto = {}
do
  local function check_parameter(message, first, last, label, of_output)
    protobuf.fields(message, first, last, function(field, wire, from, to)
      if field == 1 then
        local key = frames.text_field(message, wire, from, to, "a parameter name")
        tensors.refuse_shared_memory(key, label)
        if of_output and key == "classification" then tensors.refuse_classification(label) end
      elseif field == 2 and wire == 2 then
        protobuf.fields(message, from, to, function(kind, inner, start, stop)
          if kind == 3 then frames.text_field(message, inner, start, stop, "a parameter") end
        end)
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
    local shape, datatype, name = { rank = 0, elements = 1 }, nil, nil
    protobuf.fields(message, first, last, function(field, wire, from, to, value)
      if field == 1 then
        name = frames.text_field(message, wire, from, to, "a tensor name")
        tensors.check_name(name, label)
      elseif field == 2 then
        datatype = frames.text_field(message, wire, from, to, "a datatype")
      elseif field == 3 then
        check_shape(message, wire, from, to, value, shape, limit, label)
      elseif field == 4 and wire == 2 then
        check_parameter(message, from, to, label)
      end
    end)
    if not name then tensors.invalid(label .. " has no name") end
    tensors.size_of(datatype, label)
  end

  local function check_output(message, first, last, label)
    protobuf.fields(message, first, last, function(field, wire, from, to)
      if field == 1 then
        tensors.check_name(frames.text_field(message, wire, from, to, "a tensor name"), label)
      elseif field == 2 and wire == 2 then
        check_parameter(message, from, to, label, true)
      end
    end)
  end

  -- message: a ModelInferRequest. Raises REQUEST_MALFORMED or REQUEST_INVALID.
  function infer_proto.check(message)
    local counts = { [5] = 0, [6] = 0, [7] = 0 }
    protobuf.fields(message, 1, #message, function(field, wire, first, last)
      if field == 3 then
        frames.text_field(message, wire, first, last, "the id")
      elseif field == 4 and wire == 2 then
        check_parameter(message, first, last, "the request")
      end
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
