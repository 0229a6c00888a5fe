-- TorchServe's inference protocol: versions are written in; only what its old parsers can be trusted with passes.
local protocol = {}
do
  local LONGEST_QUERY, MOST_PARAMETERS = 1024, 32 -- bytes; decoded and quoted they fit the frontend's 8 KiB of headers
  local MOST_PARTS = 16 -- of a multipart form: its decoder holds any number (Netty 4.1.53, CVE-2024-29025)
  local LONGEST_HEAD = 4096 -- bytes of a part's headers
  local FORM, RAW = "application/x-www-form-urlencoded", "application/octet-stream"
  local TAKEN = "; send the image as the body (image/jpeg, image/png, application/octet-stream, ...), application/json "
    .. "with base64 images, or multipart/form-data"

  local function malformed(what)
    errors.raise("REQUEST_MALFORMED", "the query " .. what)
  end

  -- One UTF-8 sequence as a JSON escape: headers are ASCII
  local function escaped(sequence)
    local first, point = string.byte(sequence), 0
    local length = first < 0xE0 and 2 or first < 0xF0 and 3 or 4
    if #sequence ~= length then malformed("is not UTF-8") end
    point = first % (length == 2 and 32 or length == 3 and 16 or 8)
    for at = 2, length do
      point = point * 64 + string.byte(sequence, at) % 64
    end
    if point < 0x10000 then return string.format("\\u%04x", point) end
    point = point - 0x10000
    return string.format("\\u%04x\\u%04x", 0xD800 + math.floor(point / 1024), 0xDC00 + point % 1024)
  end

  local function decoded(text)
    text = string.gsub(text, "+", " ")
    text = string.gsub(text, "%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
    text = string.gsub(errors.quote(text), "[\194-\244][\128-\191]*", escaped)
    if string.find(text, "[\128-\255]") then malformed("is not UTF-8") end
    return text
  end

  -- The query as a JSON object of texts. The frontend (0.12) hides the query of /predictions from handlers, so it goes
  -- to them in a header. A name that comes twice counts with its last value.
  local function parameters_of(query)
    if #query > LONGEST_QUERY then
      errors.raise("REQUEST_INVALID", "the query is longer than " .. LONGEST_QUERY .. " bytes")
    end
    local plain = string.gsub(query, "%%%x%x", "")
    if string.find(plain, "[^\33-\126]") or string.find(plain, "%", 1, true) then
      malformed("is not percent-encoded")
    end
    local values, order = {}, {}
    for pair in string.gmatch(query, "[^&]+") do
      local name, value = string.match(pair, "^([^=]*)=?(.*)$")
      name = decoded(name)
      if not values[name] then order[#order + 1] = name end
      if #order > MOST_PARAMETERS then
        errors.raise("REQUEST_INVALID", "the query has more than " .. MOST_PARAMETERS .. " parameters")
      end
      values[name] = decoded(value)
    end
    for at, name in ipairs(order) do
      order[at] = name .. ":" .. values[name]
    end
    return "{" .. table.concat(order, ",") .. "}"
  end

  local function check_json(body)
    local text = body:getBytes(0, body:length())
    local at, char = json.space(text, 1)
    if not char then errors.raise("REQUEST_MALFORMED", "the body is empty; expected JSON") end
    at, char = json.space(text, json.skip(text, at, char, 0))
    if char then json.fail(text, at, "nothing after the value") end
  end

  -- The one form of the header that every parser reads alike: of several boundaries Netty takes the first, whatever
  -- their letter case and quotes. -> the boundary (RFC 2046, 5.1.1, without spaces)
  local function boundary_of(headers)
    local name, value = string.match(headers:get("content-type") or "", "^[^;%s]+%s*;%s*(%a+)=(.+)$")
    if value then value = string.match(value, '^"(.*)"$') or value end
    local fit = value and string.lower(name) == "boundary" and #value <= 70
    if not fit or not string.find(value, "^[%w'()+_,./:=?-]+$") then
      errors.raise("REQUEST_MALFORMED", "a form's content-type is multipart/form-data; boundary=... and no more, the "
        .. "boundary 1 to 70 of letters, digits and '()+_,-./:=?")
    end
    headers:replace("content-type", 'multipart/form-data; boundary="' .. value .. '"')
    return value
  end

  -- The headers of one part, as they stand after a boundary's line. Lines must start with a name: Netty skips blanks
  -- and control characters there, empty lines with them. Each attribute costs it an object, so their number is bounded.
  local function check_head(text, at)
    local head = string.sub(text, at, at + LONGEST_HEAD)
    local _, last = string.find(head, "^\r?\n")
    while last and not string.find(head, "^\r?\n", last + 1) do
      local _, ends = string.find(head, "^[%w-]+:[^\r\n]*\r?\n", last + 1)
      if not ends and #head > LONGEST_HEAD and string.find(head, "^[%w-]+:?[^\r\n]*\r?$", last + 1) then
        errors.raise("REQUEST_INVALID", "a part of the form has more than " .. LONGEST_HEAD .. " bytes of headers")
      end
      if not ends then errors.raise("REQUEST_MALFORMED", "a part of the form has headers that are not NAME: VALUE") end
      last = ends
    end
    if last and string.find(string.sub(head, 1, last), "[Mm][Uu][Ll][Tt][Ii][Pp][Aa][Rr][Tt]/[Mm][Ii][Xx][Ee][Dd]") then
      errors.raise("REQUEST_INVALID", "the form holds multipart/mixed; send every file as a part of its own")
    end
  end

  local function check_multipart(headers, body)
    local mark, text = "--" .. boundary_of(headers), body:getBytes(0, body:length())
    local at, parts = string.find(text, mark, 1, true), 0
    while at do
      parts = parts + 1
      if parts > MOST_PARTS then
        errors.raise("REQUEST_INVALID", "the form has more than " .. MOST_PARTS .. " parts")
      end
      check_head(text, at + #mark)
      at = string.find(text, mark, at + 1, true)
    end
  end

  local function check_body(headers, body)
    local media = bodies.media_type(headers)
    if media == "application/json" then return check_json(body) end
    if media == "multipart/form-data" then return check_multipart(headers, body) end
    if media == FORM then -- what `curl --data-binary @photo.jpg` says of an image
      headers:replace("content-type", RAW)
    elseif media ~= "" and media ~= RAW and not string.find(media, "^image/[%w.+-]+$") then
      errors.raise("MEDIA_TYPE_UNSUPPORTED", "content-type " .. errors.shown(media) .. " is not taken" .. TAKEN)
    end
  end

  local function predict(handle, headers, endpoint, limit, context)
    local query = string.match(headers:get(":path") or "", "^[^?#]*%?([^#]*)") or ""
    local parameters = query ~= "" and parameters_of(query)
    bodies.refuse_encoding(headers)
    local version = versions.choose(handle, endpoint.model, endpoint.version, context, true)
    local body = bodies.whole(handle, headers, limit, context)
    headers = handle:headers() -- Envoy's wrappers die when the script waits
    check_body(headers, body)
    bodies.settle(headers, body)
    headers:replace(":method", "POST")
    if parameters then headers:replace("x-slipway-parameters", parameters) end
    return "/predictions/" .. endpoint.model .. "/" .. version
  end

  function protocol.http(handle, headers, path, limit, context)
    local endpoint = endpoints.http(path, headers:get(":method"))
    if endpoint.ready and not versions.ready(handle) then
      errors.raise("SERVER_UNAVAILABLE", "not every active model is ready")
    end
    local target = endpoint.as or path
    if endpoint.model then
      target = predict(handle, headers, endpoint, limit, context)
    else
      bodies.refuse_any(headers)
    end
    headers = handle:headers()
    bodies.drop_headers(headers, {})
    headers:replace(":path", target)
    context.answer = endpoint.answer
  end

  function protocol.grpc(handle, headers, path, limit, context)
    local endpoint = endpoints.grpc(path)
    if endpoint.ready and not versions.ready(handle) then
      errors.raise("SERVER_UNAVAILABLE", "not every active model is ready")
    end
    local body = bodies.whole(handle, headers, limit, context)
    local message = frames.message(body)
    if endpoint.model then
      local name, version, chosen = frames.target(message)
      version, chosen = versions.choose(handle, name, version, context, true)
      -- metadata of a call never reaches workers (0.12): what handlers must know goes into the message's inputs
      local told = protobuf.map_entry(3, "x-request-id", context.id)
        .. protobuf.map_entry(3, "x-slipway-record", context.record or "0")
      body:setBytes(frames.frame(message, told .. (chosen and protobuf.string_field(2, version) or "")))
    end
    if endpoint.as then
      body:setBytes(frames.frame("", ""))
      handle:headers():replace(":path", endpoint.as)
    end
    context.answer = endpoint.answer
  end
end
