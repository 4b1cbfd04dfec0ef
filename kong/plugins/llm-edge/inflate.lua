--- Unpacks a compressed reply piece by piece, by the zlib that comes with Kong: an upstream may compress although it was
-- asked not to.

local ffi = require "ffi"

local BUFFER = 65536
--- Most that one piece of a reply may unpack to: a small one can hold gigabytes.
local MOST = 8388608
local SYNC_FLUSH = 2

local ENCODINGS = { gzip = true, ["x-gzip"] = true, deflate = true }

local _M = {}

--- A decoder; nil where the bytes are as they are, false where nobody can read them.
function _M.decoder(encoding)
  encoding = (encoding or ""):lower():match("^%s*(.-)%s*$")
  if encoding == "" or encoding == "identity" then
    return nil
  end
  local found, ffi_zlib = pcall(require, "ffi-zlib")
  if not ENCODINGS[encoding] or not found then
    return false
  end
  local stream, input, output = ffi_zlib.createStream(BUFFER)
  if ffi_zlib.initInflate(stream) ~= ffi_zlib.zlib.Z_OK then
    return false
  end
  -- The buffers must live as long as the stream that points into them.
  return { stream = ffi.gc(stream, ffi_zlib.zlib.inflateEnd), input = input, output = output, ffi_zlib = ffi_zlib }
end

--- Returns what the piece holds, or nil and why it cannot be read.
function _M.push(decoder, chunk)
  local stream, ffi_zlib = decoder.stream, decoder.ffi_zlib
  local zlib = ffi_zlib.zlib
  local out, size = {}, 0
  for from = 1, #chunk, BUFFER do
    local piece = chunk:sub(from, from + BUFFER - 1)
    ffi.copy(decoder.input, piece, #piece)
    stream.next_in, stream.avail_in = decoder.input, #piece
    repeat
      stream.next_out, stream.avail_out = decoder.output, BUFFER
      local status = zlib.inflate(stream, SYNC_FLUSH)
      if status == zlib.Z_STREAM_END then
        -- Another one may follow.
        zlib.inflateEnd(stream)
        if ffi_zlib.initInflate(stream) ~= zlib.Z_OK then
          return nil, "zlib does not start again"
        end
      elseif status ~= zlib.Z_OK and status ~= zlib.Z_BUF_ERROR then
        return nil, "the reply is not what its encoding says"
      end
      local count = BUFFER - stream.avail_out
      out[#out + 1] = ffi.string(decoder.output, count)
      size = size + count
      if size > MOST then
        return nil, "a piece of the reply unpacks to more than " .. MOST .. " bytes"
      end
    until stream.avail_out > 0 and (stream.avail_in == 0 or count == 0)
  end
  return table.concat(out)
end

return _M
