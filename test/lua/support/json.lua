--- A stand-in for OpenResty's `cjson.safe`, with the parts of its interface that the companions use.

local _M = { null = setmetatable({}, { __tostring = function() return "null" end }), array_mt = {} }

local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }
local LITERALS = { ["true"] = true, ["false"] = false, null = _M.null }

local function utf8(code)
  if code < 0x80 then
    return string.char(code)
  elseif code < 0x800 then
    return string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64)
  elseif code < 0x10000 then
    return string.char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
  end
  return string.char(0xF0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64,
    0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
end

local function decode_string(text, pos)
  local out = {}
  while true do
    local at = assert(text:find('["\\]', pos), "unterminated string")
    out[#out + 1] = text:sub(pos, at - 1)
    if text:sub(at, at) == '"' then
      return table.concat(out), at + 1
    end
    local kind = text:sub(at + 1, at + 1)
    pos = at + 2
    if kind == "u" then
      local code = assert(tonumber(text:sub(pos, pos + 3), 16), "bad escape")
      pos = pos + 4
      if code >= 0xD800 and code < 0xDC00 then
        local low = assert(tonumber(text:match("^\\u(%x%x%x%x)", pos) or "", 16), "lone surrogate")
        code, pos = 0x10000 + (code - 0xD800) * 1024 + (low - 0xDC00), pos + 6
      end
      out[#out + 1] = utf8(code)
    else
      out[#out + 1] = assert(ESCAPES[kind], "bad escape")
    end
  end
end

local decode_value

local function skip(text, pos)
  return text:find("[^ \t\r\n]", pos) or #text + 1
end

local function decode_list(text, pos, close, item)
  pos = skip(text, pos)
  if text:sub(pos, pos) == close then
    return pos + 1
  end
  while true do
    pos = skip(text, item(skip(text, pos)))
    local char = text:sub(pos, pos)
    if char == close then
      return pos + 1
    end
    assert(char == ",", "expected a comma")
    pos = pos + 1
  end
end

function decode_value(text, pos)
  local char = text:sub(pos, pos)
  if char == '"' then
    return decode_string(text, pos + 1)
  elseif char == "{" then
    local object = {}
    return object, decode_list(text, pos + 1, "}", function(at)
      assert(text:sub(at, at) == '"', "expected a key")
      local key, colon = decode_string(text, at + 1)
      colon = skip(text, colon)
      assert(text:sub(colon, colon) == ":", "expected a colon")
      local value, after = decode_value(text, skip(text, colon + 1))
      object[key] = value
      return after
    end)
  elseif char == "[" then
    local array = setmetatable({}, _M.array_mt)
    return array, decode_list(text, pos + 1, "]", function(at)
      local value, after = decode_value(text, at)
      array[#array + 1] = value
      return after
    end)
  end
  local word = text:match("^%a+", pos)
  if word then
    local value = LITERALS[word]
    assert(value ~= nil, "bad literal")
    return value, pos + #word
  end
  local number = assert(text:match("^-?%d+%.?%d*[eE]?[+-]?%d*", pos), "bad token")
  return assert(tonumber(number), "bad number"), pos + #number
end

local function encode_string(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    return ("\\u%04x"):format(char:byte())
  end) .. '"'
end

local function encode_value(value)
  if value == nil or value == _M.null then
    return "null"
  elseif type(value) == "string" then
    return encode_string(value)
  elseif type(value) ~= "table" then
    return type(value) == "number" and ("%.14g"):format(value) or tostring(value)
  end
  local out = {}
  if getmetatable(value) == _M.array_mt or #value > 0 then
    for i, item in ipairs(value) do
      out[i] = encode_value(item)
    end
    return "[" .. table.concat(out, ",") .. "]"
  end
  for key, item in pairs(value) do
    out[#out + 1] = encode_string(key) .. ":" .. encode_value(item)
  end
  table.sort(out)
  return "{" .. table.concat(out, ",") .. "}"
end

function _M.new()
  return _M
end

function _M.decode_array_with_array_mt() end

function _M.decode(text)
  local ok, value, pos = pcall(decode_value, text, skip(text, 1))
  if not ok then
    return nil, value
  elseif skip(text, pos) <= #text then
    return nil, "trailing text"
  end
  return value
end

function _M.encode(value)
  return encode_value(value)
end

return _M
