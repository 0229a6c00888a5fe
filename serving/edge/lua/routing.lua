-- The routing table's entries (the metadata of the route, written by serving/edge/routes.py). Envoy makes an entry's
-- Lua value anew each time that it is asked for, so it is asked once per table.
local routing = {}
do
  local new, old = { entries = {} }, { entries = {} } -- a stream keeps the table that it began with

  local function held(stamp)
    if new.stamp == stamp then return new.entries end
    if old.stamp == stamp then return old.entries end
    new, old = { stamp = stamp, entries = {} }, new
    return new.entries
  end

  -- -> the entry, nil where the table has none. All requests share it: nobody changes it.
  function routing.entry(handle, key)
    local metadata = handle:metadata()
    local entries = held(metadata:get("stamp"))
    local found = entries[key]
    if found == nil then
      found = metadata:get(key)
      entries[key] = found -- what a client made up is nil, and takes no place
    end
    return found
  end
end
