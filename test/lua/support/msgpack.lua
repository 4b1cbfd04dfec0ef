--- MessagePack in the forms that lua-MessagePack writes, and the ones in which requests of Kong come.

local bit = require "bit"

local _M = { packers = {} }

local function big_endian(value, bytes)
  local out = {}
  for i = bytes, 1, -1 do
    out[i] = string.char(value % 256)
    value = math.floor(value / 256)
  end
  return table.concat(out)
end

function _M.packers.binary(buffer, bytes)
  local size = #bytes
  buffer[#buffer + 1] = size < 256 and "\196" .. big_endian(size, 1) or size < 65536 and "\197" .. big_endian(size, 2)
    or "\198" .. big_endian(size, 4)
  buffer[#buffer + 1] = bytes
end

local function number(value)
  if value < 0 or value % 1 ~= 0 then
    error("only whole numbers are packed here")
  elseif value < 128 then
    return string.char(value)
  elseif value < 256 then
    return "\204" .. big_endian(value, 1)
  elseif value < 65536 then
    return "\205" .. big_endian(value, 2)
  end
  return value < 4294967296 and "\206" .. big_endian(value, 4) or "\207" .. big_endian(value, 8)
end

local function text(value)
  local size = #value
  return (size < 32 and string.char(160 + size) or size < 65536 and "\218" .. big_endian(size, 2)
    or "\219" .. big_endian(size, 4)) .. value
end

local function write(buffer, value)
  local kind = type(value)
  if kind == "function" then
    value(buffer)
  elseif kind == "string" then
    buffer[#buffer + 1] = text(value)
  elseif kind == "number" then
    buffer[#buffer + 1] = number(value)
  elseif kind == "boolean" or kind == "nil" then
    buffer[#buffer + 1] = value == nil and "\192" or value and "\195" or "\194"
  elseif #value > 0 or next(value) == nil then
    buffer[#buffer + 1] = string.char(144 + #value)
    for _, item in ipairs(value) do
      write(buffer, item)
    end
  else
    local keys = {}
    for key in pairs(value) do
      keys[#keys + 1] = key
    end
    table.sort(keys)
    buffer[#buffer + 1] = string.char(128 + #keys)
    for _, key in ipairs(keys) do
      write(buffer, key)
      write(buffer, value[key])
    end
  end
end

function _M.pack(value)
  local buffer = {}
  write(buffer, value)
  return table.concat(buffer)
end

local function read_size(bytes, at, width)
  local size = 0
  for i = at, at + width - 1 do
    size = size * 256 + bytes:byte(i)
  end
  return size, at + width
end

--- By the type byte: how many bytes say how long what follows is.
local WIDTHS = { [0xC4] = 1, [0xC5] = 2, [0xC6] = 4, [0xD9] = 1, [0xDA] = 2, [0xDB] = 4 }
local NUMBERS = { [0xCC] = 1, [0xCD] = 2, [0xCE] = 4, [0xCF] = 8 }

local read

local function read_list(bytes, at, count)
  local list = {}
  for i = 1, count do
    list[i], at = read(bytes, at)
  end
  return list, at
end

function read(bytes, at)
  local kind = assert(bytes:byte(at), "a message that ends too soon")
  at = at + 1
  local size
  if kind < 0x80 then
    return kind, at
  elseif WIDTHS[kind] or bit.band(kind, 0xE0) == 0xA0 then
    size = bit.band(kind, 0x1F)
    if WIDTHS[kind] then
      size, at = read_size(bytes, at, WIDTHS[kind])
    end
    assert(#bytes >= at + size - 1, "a message that ends too soon")
    return bytes:sub(at, at + size - 1), at + size
  elseif NUMBERS[kind] then
    return read_size(bytes, at, NUMBERS[kind])
  elseif bit.band(kind, 0xF0) == 0x90 then
    return read_list(bytes, at, bit.band(kind, 0x0F))
  elseif bit.band(kind, 0xF0) == 0x80 then
    local flat, object
    flat, at = read_list(bytes, at, bit.band(kind, 0x0F) * 2)
    object = {}
    for i = 1, #flat, 2 do
      object[flat[i]] = flat[i + 1]
    end
    return object, at
  end
  assert(kind == 0xC0 or kind == 0xC2 or kind == 0xC3, "an unexpected type")
  if kind ~= 0xC0 then
    return kind == 0xC3, at
  end
  return nil, at
end

--- Requests as the server sees them: `{ id, method, argument }` each.
function _M.requests(bytes)
  local list, at = {}, 1
  while at <= #bytes do
    assert(bytes:byte(at) == 0x94 and bytes:byte(at + 1) == 0, "no request")
    local id, method, arguments
    id, at = read(bytes, at + 2)
    method, at = read(bytes, at)
    arguments, at = read(bytes, at)
    list[#list + 1] = { id = id, method = method, argument = arguments[1] }
  end
  return list
end

--- An answer as `encodeText` of plugins/kong/server/msgpack-encode.ts makes it.
function _M.answer(id, answer, following)
  local whole = answer .. (following or "")
  return "\148\1\206" .. big_endian(id, 4) .. "\192\146\206" .. big_endian(#answer, 4) .. "\198"
    .. big_endian(#whole, 4) .. whole
end

return _M
