--- Just enough of Kong and OpenResty, as globals, to run the companions: one request at a time.

local json = require "json"

package.preload["cjson.safe"] = function()
  return json
end
--- Functions are what lua-MessagePack calls to write a value by themselves.
local function plain(value)
  if type(value) == "function" then
    local buffer = {}
    value(buffer)
    return buffer[1]
  elseif type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, member in pairs(value) do
    copy[key] = plain(member)
  end
  return copy
end

package.preload["MessagePack"] = function()
  return {
    packers = { binary = function(buffer, bytes) buffer[1] = bytes end },
    pack = function(value) return json.encode(plain(value)) end,
    unpacker = function(read)
      return function()
        local reply = json.decode(read())
        for i = 1, 4 do
          reply[i] = reply[i] ~= json.null and reply[i] or nil
        end
        return true, reply
      end
    end,
  }
end
package.preload["ngx.semaphore"] = function()
  return { new = function() error("nobody waits here") end }
end
package.preload["kong.plugins.llm-edge.say"] = function()
  return function(text, plugin)
    _G.ngx.log(_G.ngx.ERR, (plugin and "[" .. plugin .. "] " or "") .. text)
  end
end
package.preload["kong.tools.sha256"] = function()
  return { sha256_hex = function(text) return "hash-of-" .. #text .. "-bytes" end }
end
package.preload["kong.plugins.acl.groups"] = function()
  return { get_consumer_groups = function(id) return _G.kong.test_groups[id] end }
end

--- Header tables of OpenResty look names up without case, underscores as dashes.
local function header_table(values)
  return setmetatable(values, { __index = function(headers, name)
    return rawget(headers, (name:lower():gsub("_", "-")))
  end })
end

local function decode_args(text)
  local args = {}
  for pair in (text or ""):gmatch("[^&]+") do
    local name, value = pair:match("^([^=]*)=(.*)$")
    name, value = name or pair, value or true
    local old = args[name]
    if old == nil then
      args[name] = value
    elseif type(old) == "table" then
      old[#old + 1] = value
    else
      args[name] = { old, value }
    end
  end
  return args
end

--- Puts a request in place; every field of `request` is optional. Returns what happened to it so far.
return function(request)
  local headers = header_table(request.headers or {})
  local seen = { logs = {}, reply_headers = request.reply_headers or {}, headers = headers }
  local var = request.var or {}
  var.kong_request_id = var.kong_request_id or "req-1"
  var.upstream_uri = var.upstream_uri or "/v1/chat/completions"
  var.uri = var.uri or var.upstream_uri
  var.args = request.args
  -- One for every spelling of a header.
  setmetatable(var, { __index = function(_, variable)
    local wanted = variable:match("^http_(.*)$")
    for name, value in pairs(wanted and headers or {}) do
      if name:gsub("-", "_") == wanted then
        return value
      end
    end
  end })

  _G.ngx = {
    ERR = "error",
    time = function() return 1000 end,
    log = function(_, text) seen.logs[#seen.logs + 1] = text end,
    timer = { at = function(_, run, ...)
      run(false, ...)
      return true
    end },
    var = var,
    ctx = request.ctx or {},
    arg = {},
    status = request.status or 200,
    header = setmetatable({}, {
      __index = function(_, name) return seen.reply_headers[name] end,
      __newindex = function(_, name, value) seen.reply_headers[name] = value end,
    }),
    encode_base64 = function(text) return "base64(" .. text .. ")" end,
    req = {
      get_headers = function() return headers, request.truncated and "truncated" or nil end,
      get_uri_args = function() return decode_args(var.args) end,
      get_method = function() return request.method or "POST" end,
      http_version = function() return request.http_version or 1.1 end,
      read_body = function() seen.read_body = true end,
      get_body_data = function() return request.body end,
      get_body_file = function() return request.body_file end,
    },
  }
  _G.kong = {
    test_groups = request.groups or {},
    db = { acls = {} },
    ctx = { shared = request.shared or {}, plugin = {} },
    log = { err = function(...) seen.logs[#seen.logs + 1] = table.concat({ ... }) end },
    client = {
      get_consumer = function() return request.consumer end,
      get_credential = function() return request.credential end,
      get_forwarded_ip = function() return "192.0.2.7" end,
    },
    router = {
      get_route = function() return request.route end,
      get_service = function() return request.service end,
    },
    service = { request = {
      set_header = function(name, value) headers[name:lower()] = value end,
      clear_header = function(name) headers[name:lower()] = nil end,
      clear_query_arg = function(name)
        local kept = {}
        for pair in (var.args or ""):gmatch("[^&]+") do
          if pair:match("^[^=]*") ~= name then
            kept[#kept + 1] = pair
          end
        end
        var.args = table.concat(kept, "&")
      end,
    } },
    response = {
      get_source = function() return request.source or "service" end,
      get_header = function(name) return seen.reply_headers[name] end,
      set_header = function(name, value) seen.reply_headers[name] = value end,
      clear_header = function(name) seen.reply_headers[name] = nil end,
      exit = function(status, body, reply_headers)
        seen.exit = { status = status, body = json.decode(body), headers = reply_headers }
      end,
    },
  }
  return seen
end
