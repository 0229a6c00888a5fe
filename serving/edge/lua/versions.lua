-- Chooses the version of a request that names none, from the routing table (the metadata of the route).
local versions = {}
do
  local LONGEST_NAME = 128

  local function unknown_version(model, version)
    errors.raise("VERSION_NOT_FOUND", "model " .. model .. " has no version " .. errors.shown(version)
      .. "; a version is a whole number of 1 or more")
  end

  -- The table's entry of a model, nil when it has none: { version = "3" }
  function versions.entry(handle, model)
    return routing.entry(handle, "model:" .. model)
  end

  function versions.ready(handle)
    return routing.entry(handle, "ready") == true
  end

  local function check_written(model, version)
    if not string.find(version, "^[1-9]%d*$") or #version > 9 then unknown_version(model, version) end
  end

  -- The version of an inference request that names none: the experiment's, where there is one
  local function assigned(handle, model, entry, context)
    local experiment = routing.entry(handle, "experiment:" .. model)
    if not experiment then return entry.version end
    local wished = handle:headers():get(experiment.override) or ""
    if wished ~= "" then check_written(model, wished) end -- before anything of it is noted for the log
    return experiments.choose(handle:headers(), experiment, context)
  end

  -- model, version: what the client named ("" or nil: no version). -> the version to use, whether the table chose it.
  -- `context.routed` tells the retry filter that this version ought to exist: see retries.lua. `infer`: a call that
  -- takes part in experiments; the others ask about the stable version.
  function versions.choose(handle, model, version, context, infer)
    if not string.find(model, "^[%w_.%-]+$") or #model > LONGEST_NAME then
      errors.raise("MODEL_NOT_FOUND", "there is no model named '" .. errors.shown(model) .. "'")
    end
    context.model = model
    local entry = versions.entry(handle, model)
    context.known = entry ~= nil
    if version and version ~= "" then
      check_written(model, version)
      context.why = infer and "override" or nil
      context.version, context.routed = version, entry ~= nil and entry.version == version
      return version, false
    end
    if not entry then
      errors.raise("MODEL_NOT_FOUND", "model " .. errors.shown(model) .. " is not served; ask for one that is")
    end
    context.version = infer and assigned(handle, model, entry, context) or entry.version
    context.routed = context.why ~= "override"
    return context.version, true
  end
end
