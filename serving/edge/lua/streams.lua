-- A stream of gRPC messages, whose bytes come in pieces that are cut anywhere, as whole messages.
local streams = {}
do
  local byte, sub = string.byte, string.sub
  local FRAME = 5 -- one flag byte, four bytes of length
  local MOST_PIECES = 4096 -- that are held as they came: one of a byte costs as much as one of a thousand

  -- judge(message) -> the bytes that take its place. refuse(flag, length): the same for a message that is not read,
  -- because it is compressed or larger than `limit`. -> a function from a piece to what passes of it, and one that says
  -- whether a message has begun and not ended. What is held between two pieces is less than one message.
  function streams.cutter(limit, judge, refuse)
    local packs, pieces, have, length, skip = {}, {}, 0, nil, 0

    local function header(text, at)
      local flag, a, b, c, d = byte(text, at, at + FRAME - 1)
      return flag, ((a * 256 + b) * 256 + c) * 256 + d
    end

    -- One step at text[at..]. -> where the next begins, what passes; nil when more must come first
    local function step(text, at)
      local left = #text - at + 1
      if skip > 0 then
        local gone = math.min(skip, left)
        skip = skip - gone
        return gone > 0 and at + gone or nil, ""
      elseif length then
        if left < length then return nil end
        local message = sub(text, at, at + length - 1)
        at, length = at + length, nil
        return at, judge(message)
      end
      if left < FRAME then return nil end
      local flag, declared = header(text, at)
      if flag == 0 and declared <= limit then
        length = declared
        return at + FRAME, ""
      end
      skip = declared
      return at + FRAME, refuse(flag, declared)
    end

    local function pack()
      packs[#packs + 1], pieces = table.concat(pieces), {}
    end

    local function feed(piece)
      pieces[#pieces + 1], have = piece, have + #piece
      if #pieces == MOST_PIECES then pack() end
      if have < (length or 0) then return "" end
      pack()
      local text, at, out = table.concat(packs), 1, {}
      local following, passed = step(text, at)
      while following do
        at, out[#out + 1] = following, passed
        following, passed = step(text, at)
      end
      local rest = sub(text, at)
      packs, have = { rest }, #rest
      return table.concat(out)
    end

    return feed, function() return have > 0 or length ~= nil or skip > 0 end
  end
end
