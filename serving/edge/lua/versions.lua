-- Chooses the version of a request that names none, from the routing table (the metadata of the route).
local versions = {}
do
  local function unknown_version(model, version)
    errors.raise("VERSION_NOT_FOUND", "model " .. model .. " has no version " .. errors.shown(version)
      .. "; a version is a whole number of 1 or more")
  end

  -- The table's entry of a model, nil when it has none: { version = "3" }
  function versions.entry(handle, model)
    return handle:metadata():get("model:" .. model)
  end

  function versions.ready(handle)
    return handle:metadata():get("ready") == true
  end

  -- model, version: what the client named ("" or nil: no version). -> the version to use, whether the table chose it.
  -- `context.routed` tells the retry filter that this version ought to exist: see retries.lua.
  function versions.choose(handle, model, version, context)
    if not string.find(model, "^[%w_.%-]+$") then
      errors.raise("MODEL_NOT_FOUND", "there is no model named '" .. errors.shown(model) .. "'")
    end
    context.model = model
    local entry = versions.entry(handle, model)
    context.known = entry ~= nil
    if version and version ~= "" then
      if not string.find(version, "^[1-9]%d*$") or #version > 9 then unknown_version(model, version) end
      context.version, context.routed = version, entry ~= nil and entry.version == version
      return version, false
    end
    if not entry then
      errors.raise("MODEL_NOT_FOUND", "model " .. errors.shown(model) .. " is not served; ask for one that is")
    end
    context.version, context.routed = entry.version, true
    return entry.version, true
  end
end
