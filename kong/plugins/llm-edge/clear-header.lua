--- Removes a header in every spelling: Kong forwards underscores as they come, and many an upstream takes them for dashes.

--- nginx's variable of a header, one for all its spellings.
local function variable_of(name)
  return "http_" .. name:lower():gsub("-", "_")
end

--- Of the names in the configuration and in the pack.
local variables = {}

return function(name)
  local variable = variables[name]
  if not variable then
    variable = variable_of(name)
    variables[name] = variable
  end
  if ngx.var[variable] == nil then
    return
  end
  kong.service.request.clear_header(name)
  if ngx.var[variable] == nil then
    return
  end
  for spelling in pairs((ngx.req.get_headers(0))) do
    if variable_of(spelling) == variable then
      kong.service.request.clear_header(spelling)
    end
  end
end
