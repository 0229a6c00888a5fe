-- With other servers: a version that the table knows at some place goes to the cluster of all its places, unless the
-- request was passed on by another server's edge, which chose this one.
do
  local choose = versions.choose

  function versions.choose(handle, model, version, context, infer)
    local chosen, by_table = choose(handle, model, version, context, infer)
    local headers, places = handle:headers(), routing.entry(handle, "places:" .. model)
    local place = places and places[chosen]
    local path, query = string.match(headers:get(":path") or "", "^([^?#]*)%??([^#]*)")
    local passed_on = headers:get("slipway-forwarded") ~= nil
    if passed_on or string.find(path, "/stats$") then -- of this server alone; who asks has others, and does not wait
      context.routed = context.routed and place == "here"
    elseif place and not context.route then
      context.route, context.routed = model .. "/" .. chosen .. "+all", true
      if query ~= "" then headers:replace("x-slipway-query", query) end
    end
    return chosen, by_table
  end
end
