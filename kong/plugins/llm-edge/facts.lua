--- Packs what Kong knows of a request into one table: `Facts` of plugins/kong/shared-context.ts.

local cjson = require "cjson.safe"
local sha256_hex = require("kong.tools.sha256").sha256_hex

local MAX_PACKED_BODY = 65536
local HEADERS = {
  "accept", "accept-encoding", "anthropic-beta", "anthropic-version", "azureml-model-deployment", "connection",
  "content-encoding", "content-length", "content-type", "helicone-fallbacks", "helicone-openai-api-base",
  "helicone-target-url", "transfer-encoding", "upgrade", "x-goog-fieldmask", "x-http-method", "x-http-method-override",
  "x-method-override", "x-original-url", "x-portkey-azure-deployment-id", "x-portkey-config",
  "x-portkey-custom-host", "x-portkey-provider", "x-portkey-virtual-key", "x-rewrite-url",
}
local WANTED = {}
for _, name in ipairs(HEADERS) do
  WANTED[name] = true
end

--- A plain copy of a list of strings; nil for none, since an empty Lua table is neither list nor object.
local function strings(list)
  local copy
  for _, item in ipairs(type(list) == "table" and list or {}) do
    copy = copy or {}
    copy[#copy + 1] = tostring(item)
  end
  return copy
end

--- Picks the headers that are wanted. A name in underscores counts as the one with dashes: WSGI does not tell them apart.
local function pick(headers, extra)
  local more, shown, total = {}, {}, 0
  for i, name in ipairs(extra or {}) do
    extra[i] = name:lower()
    more[extra[i]] = true
  end
  for name, value in pairs(headers) do
    total = total + 1
    local dashed = name:find("_", 1, true) and not more[name] and name:gsub("_", "-") or name
    if WANTED[dashed] or more[dashed] then
      value = type(value) == "table" and table.concat(value, ", ") or tostring(value)
      shown[dashed] = shown[dashed] and shown[dashed] .. ", " .. value or value
    end
  end
  return shown, total
end

--- Without a pattern, which LuaJIT does not compile.
local function before_query(uri)
  local mark = uri:find("?", 1, true)
  return mark and uri:sub(1, mark - 1) or uri
end

local function entity(from)
  return from and { id = from.id, name = from.name }
end

--- Kong's own groups of an authenticated caller; the header of that name is whatever the client sent.
local function groups_of(consumer, credential)
  if consumer and credential then
    if not kong.db.acls then
      return nil
    end
    local found, err = require("kong.plugins.acl.groups").get_consumer_groups(consumer.id)
    if err then
      error("could not read ACL groups: " .. err)
    end
    return strings(found)
  end
  return strings(ngx.ctx.authenticated_groups)
end

local function fingerprint(credential)
  return type(credential.key) == "string" and assert(sha256_hex(credential.key)) or nil
end

--- What many requests share, as facts and as their JSON. By credential, then route: Kong's own cached tables, which live as
-- long as they are in its cache, and are other ones once they changed.
local WEAK = { __mode = "k" }
local known, NONE = setmetatable({}, WEAK), {}

local function know(consumer, credential, route, service)
  local facts = {
    consumer = consumer and {
      id = consumer.id,
      username = consumer.username,
      custom_id = consumer.custom_id,
      tags = strings(consumer.tags),
    },
    credential = credential and {
      id = credential.id,
      created_at = credential.created_at,
      tags = strings(credential.tags),
      fingerprint = fingerprint(credential),
    },
    route = entity(route),
    service = entity(service),
  }
  local from = setmetatable({ consumer = consumer, route = route, service = service }, { __mode = "v" })
  return { from = from, facts = facts, json = assert(cjson.encode(facts)) }
end

--- The very table that it was made of; of one that is gone nothing is left, which is not the same as none.
local function is_of(part, from, entity_now)
  return (part ~= nil) == (entity_now ~= nil) and from == entity_now
end

local function known_of(consumer, credential, route, service)
  local owner, place = credential or NONE, route or NONE
  local of_owner = known[owner]
  if not of_owner then
    of_owner = setmetatable({}, WEAK)
    known[owner] = of_owner
  end
  local found = of_owner[place]
  local facts, from = found and found.facts, found and found.from
  if not found or not is_of(facts.consumer, from.consumer, consumer) or not is_of(facts.route, from.route, route)
    or not is_of(facts.service, from.service, service) then
    found = know(consumer, credential, route, service)
    of_owner[place] = found
  end
  return found
end

--- The body in memory, or its size where it lies in nginx's temporary file.
local function read_body()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  if body then
    return body, #body
  end
  local name = ngx.req.get_body_file()
  if not name then
    return nil, 0
  end
  local file = assert(io.open(name, "rb"))
  local size = file:seek("end")
  if size <= MAX_PACKED_BODY then
    file:seek("set")
    body = file:read("*a")
  end
  file:close()
  return body, size
end

local function pack_body(facts, max)
  if (tonumber(facts.headers["content-length"]) or 0) > max then
    return false
  end
  local body, size = read_body()
  if size > max then
    return false
  end
  facts.body_in = size == 0 and "none" or size <= MAX_PACKED_BODY and "base64" or "raw"
  facts.body_size = size > 0 and size or nil
  return true, facts.body_in == "base64" and body or nil
end

--- Returns the facts and the body that belongs into them, or nil with the code and message of a refusal. With `in_pieces`
-- also the JSON of the facts without the request's id, and of those that many requests share, as a list of objects: LuaJIT
-- hashes a long string by a few samples, so that many which differ in an id only would share one chain of its table of
-- strings, while pieces that are the same in many requests are one string.
return function(conf, in_pieces)
  local headers, cut = ngx.req.get_headers()
  if cut then
    return nil, "headers_too_large", "The request has more headers than the gateway shows."
  end
  local var = ngx.var
  if conf.refuse_upgrade and var.upstream_upgrade == "websocket" then
    return nil, "unmetered_operation", "Upgraded connections are not allowed here."
  end

  -- A compressed reply could not be looked into.
  kong.service.request.set_header("accept-encoding", "identity")
  headers["accept-encoding"] = "identity"
  local extra = strings(conf.extra_headers)
  local shown, total = pick(headers, extra)

  local consumer, credential, args = kong.client.get_consumer(), kong.client.get_credential(), var.args
  local shared = known_of(consumer, credential, kong.router.get_route(), kong.router.get_service())
  local facts = {
    version = 1,
    method = ngx.req.get_method(),
    path = before_query(var.upstream_uri),
    query = args and (args:gsub("=[^&;?]*", "")) or nil,
    host = var.host,
    address = kong.client.get_forwarded_ip(),
    headers = shown,
    extra_headers = extra,
    header_count = total,
    groups = groups_of(consumer, credential),
  }
  local fits, body = pack_body(facts, conf.max_body_bytes)
  if not fits then
    return nil, "request_too_large", "The request body is larger than " .. conf.max_body_bytes .. " bytes."
  end
  local pieces = in_pieces and { seen = assert(cjson.encode(facts)), known = shared.json }
  facts.request_id = var.kong_request_id
  for name, part in pairs(shared.facts) do
    facts[name] = part
  end
  return facts, body, pieces
end
