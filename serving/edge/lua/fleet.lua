-- With other servers: a version that the table knows at some place goes to the cluster of all its places, unless the
-- request was passed on by another server's edge, which chose this one.
do
  local choose = versions.choose

  function versions.choose(handle, model, version, context, infer)
    local chosen, by_table = choose(handle, model, version, context, infer)
    local headers = handle:headers()
    local passed_on = headers:get("slipway-forwarded") ~= nil
    headers:remove("slipway-forwarded")
    if passed_on or context.route then return chosen, by_table end
    local places = handle:metadata():get("places:" .. model)
    local path, query = string.match(headers:get(":path") or "", "^([^?#]*)%??([^#]*)")
    -- statistics are one server's own
    if not places or not places[chosen] or string.find(path, "/stats$") then return chosen, by_table end
    context.route, context.routed = model .. "/" .. chosen .. "+all", true
    if query ~= "" then headers:replace("x-slipway-query", query) end
    return chosen, by_table
  end
end
