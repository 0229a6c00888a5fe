-- Which version a unit sees: the same unit the same version, over HTTP and gRPC, by hash and without a store.
-- The experiment is in the route's metadata, written by serving/edge/experiments.py.
local experiments = {}
do
  local BUCKETS, LONGEST_UNIT = 10000, 256

  local function cookie(headers, name)
    for pair in string.gmatch(headers:get("cookie") or "", "[^;]+") do
      local key, value = string.match(pair, "^%s*([^=]+)=(.*)$")
      if key == name then return value end
    end
  end

  -- Without the blanks around it, which HTTP takes away and gRPC does not, and cut: see routing/assignment.py
  local function fitted(value)
    value = string.sub(string.gsub(value, "^[ \t]+", ""), 1, LONGEST_UNIT)
    return (string.gsub(value, "[ \t]+$", ""))
  end

  -- The first source that the request has, else its id
  local function unit_of(headers, sources, id)
    for _, source in ipairs(sources) do
      local kind, name = string.match(source, "^(%a+):(.+)$")
      local value = kind == "cookie" and cookie(headers, name) or kind == "header" and headers:get(name)
      value = value and fitted(value) or ""
      if value ~= "" then return value end
    end
    return id
  end

  local function takes_part(layer, unit)
    if not layer then return true end
    local bucket = hashing.hash("layer:" .. layer.name .. ":" .. unit) % BUCKETS
    return bucket >= layer.start and bucket < layer.start + layer.width
  end

  local function arm_of(arms, bucket)
    for _, arm in ipairs(arms) do
      if bucket >= arm.start and bucket < arm.start + arm.width then return arm end
    end
  end

  -- -> version, why
  local function assigned(experiment, unit, context)
    local allowed = experiment.allow[unit]
    if allowed then return allowed, "allow" end
    if not takes_part(experiment.layer, unit) then return experiment.stable, "layer" end
    local hash = hashing.hash(experiment.salt .. ":" .. unit)
    context.unit = string.format("%08x", hash)
    local arm = arm_of(experiment.arms, hash % BUCKETS)
    if not arm then return experiment.stable, "stable" end
    if not arm.ready then return experiment.stable, "unready" end
    return arm.version, "arm"
  end

  -- Copies and records are drawn by request, the same draw for every version that sees it
  local function settle(experiment, version, context)
    local draw = hashing.hash(experiment.salt .. ":draw:" .. context.id) % BUCKETS
    local counted = context.why == "arm" or context.why == "stable"
    local copy = counted and draw < (context.why == "arm" and experiment.compare or experiment.shadow)
    if counted and (copy or draw < experiment.record) then
      context.record = experiment.keep_images and "image" or "1"
    end
    local arm = (context.why == "arm" or context.why == "allow") and experiment.routes[version]
    context.arm = arm and experiment.fallback and version or nil
    if arm or copy then context.route = context.model .. "/" .. version .. (copy and "+copy" or "") end
  end

  -- -> the version that this inference request goes to; context gets what the log and the router need
  function experiments.choose(headers, experiment, context)
    local wished, version = headers:get(experiment.override), nil
    if wished and wished ~= "" then
      version, context.why = wished, "override"
    else
      version, context.why = assigned(experiment, unit_of(headers, experiment.units, context.id), context)
    end
    context.experiment, context.assigned = experiment.id, version
    settle(experiment, version, context)
    return version
  end
end
