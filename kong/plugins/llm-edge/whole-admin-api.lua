--- Keeps `GET /` of Kong's Admin API whole, with which deck and the Ingress Controller begin. The worker of Kong 3.9 that
-- starts a plugin server puts the handle of its process into Kong's configuration, and then answers 500, since a handle is
-- nothing that JSON can hold: https://github.com/Kong/kong/pull/14111. Here nobody finds the handle but who asks for it.

local function hide_process(server)
  local process = rawget(server, "proc")
  server.proc = nil
  setmetatable(server, {
    __index = function(_, key)
      return key == "proc" and process or nil
    end,
    __newindex = function(_, key, value)
      if key == "proc" then
        process = value
      else
        rawset(server, key, value)
      end
    end,
  })
end

return function()
  for _, server in ipairs(kong.configuration.pluginservers or {}) do
    if not getmetatable(server) then
      hide_process(server)
    end
  end
end
