-- The routing table's entries (the metadata of the route, written by serving/edge/routes.py). Envoy makes an entry's
-- Lua value anew each time that it is asked for, so it is asked once per table.
local routing = {}
do
  local held, stamp = {}, nil

  -- -> the entry, nil where the table has none. All requests share it: nobody changes it.
  function routing.entry(handle, key)
    local metadata = handle:metadata()
    local now = metadata:get("stamp")
    if now ~= stamp then held, stamp = {}, now end
    local found = held[key]
    if found == nil then
      found = metadata:get(key)
      held[key] = found -- what a client made up is nil, and takes no place
    end
    return found
  end
end
