-- Walks protobuf messages in place: https://protobuf.dev/programming-guides/encoding/
local protobuf = {}
do
  local byte, char = string.byte, string.char

  function protobuf.fail(text)
    errors.raise("REQUEST_MALFORMED", "the message is not valid protobuf: " .. text)
  end
  local fail = protobuf.fail

  -- -> value, index after it. Values of 2^63 and more are negative int64. Doubles: exact to 2^53.
  function protobuf.varint(text, at, stop)
    local value, scale = 0, 1
    for step = 0, 9 do
      local part = byte(text, at + step)
      if not part or at + step > stop then fail("it ends inside a number") end
      value = value + part % 128 * scale
      if step == 9 then -- the sign bit of an int64
        if part > 1 then fail("a number has more than 64 bits") end
        return part == 1 and math.min(value - 18446744073709551616, -1) or value, at + step + 1
      end
      if part < 128 then return value, at + step + 1 end
      scale = scale * 128
    end
  end
  local varint = protobuf.varint

  -- Calls visit(field number, wire type, first index, last index, value of a varint) for each field of text[at..stop]
  function protobuf.fields(text, at, stop, visit)
    while at <= stop do
      local key, first = varint(text, at, stop)
      local wire, value = key % 8, nil
      local field = (key - wire) / 8
      if field < 1 or field > 536870911 then fail("field number " .. string.format("%.0f", field)) end
      local last
      if wire == 0 then
        value, last = varint(text, first, stop)
        last = last - 1
      elseif wire == 1 then
        last = first + 7
      elseif wire == 2 then
        local length
        length, first = varint(text, first, stop)
        if length < 0 then fail("a negative length") end
        last = first + length - 1
      elseif wire == 5 then
        last = first + 3
      else
        fail("wire type " .. wire .. " in field " .. field)
      end
      if last > stop then fail("field " .. field .. " is longer than what holds it") end
      visit(field, wire, first, last, value)
      at = last + 1
    end
  end

  -- One string field, encoded; for texts shorter than 16384 bytes and field numbers below 16
  function protobuf.string_field(field, text)
    local length = #text
    if length < 128 then return char(field * 8 + 2, length) .. text end
    return char(field * 8 + 2, length % 128 + 128, math.floor(length / 128)) .. text
  end

  -- One entry of a map of strings; the last of several with one key counts
  function protobuf.map_entry(field, key, value)
    return protobuf.string_field(field, protobuf.string_field(1, key) .. protobuf.string_field(2, value))
  end
end
