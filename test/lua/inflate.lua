--- The decoder of compressed replies, by the zlib that comes with Kong.

local check = require "check"
local inflate = require "kong.plugins.llm-edge.inflate"

package.path = package.path .. ";/usr/local/share/lua/5.1/?.lua"
local have_zlib = pcall(require, "ffi-zlib")
if not have_zlib then
  print("SKIPPED: no ffi-zlib, which comes with Kong")
end

local function from_hex(text)
  return (text:gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

local TEXT = 'data: {"choices":[{"delta":{"content":"' .. ("hi "):rep(40) .. '"}}]}\n\n'
local GZIP = from_hex(table.concat({
  "1f8b08000000000002034b492c49b452a8564acec8cf4c4e2d56b28aae564a49cd294954b2020ae6e795a4e6952859296564",
  "2a0c0852aaad8dade5e20200566c411ca6000000",
}))
local ZLIB = from_hex(table.concat({
  "789c4b492c49b452a8564acec8cf4c4e2d56b28aae564a49cd294954b2020ae6e795a4e69528592965642a0c0852aaad8dad",
  "e5e20200a41634f2",
}))
--- Twelve million zeros, packed twice.
local BOMB = from_hex(table.concat({
  "1f8b0800000000000203edd8b10d01611880e1effc2447e20c20416912f5358630854b941a9b28d5a610895e830d38fe2134",
  "97e7a9de19def9be8cac971ee7a2f84573f81c5fe528000000808e6baebb9467402cdacbaa5e030000005db79954c3fc02fa",
  "efed739ccc110000803fb80daad97d19d3537c01067c809ba82d0000",
}))

check.case("needs none for what is not compressed", function()
  for _, encoding in ipairs({ "", " ", "identity", "Identity " }) do
    check.equal(inflate.decoder(encoding), nil)
  end
  check.equal(inflate.decoder(nil), nil)
end)

check.case("has none for what it cannot read", function()
  for _, encoding in ipairs({ "br", "zstd", "gzip, br", "gzip, gzip", "x" }) do
    check.equal(inflate.decoder(encoding), false)
  end
end)

check.case("knows a reply without a body", function()
  check.equal(have_zlib and inflate.push(inflate.decoder("gzip"), "") or "", "")
end)

if have_zlib then
  check.case("unpacks gzip and zlib in pieces of any size", function()
    for encoding, packed in pairs({ gzip = GZIP, ["X-GZIP "] = GZIP, deflate = ZLIB }) do
      for size = 1, #packed do
        local decoder, out = inflate.decoder(encoding), {}
        for from = 1, #packed, size do
          out[#out + 1] = assert(inflate.push(decoder, packed:sub(from, from + size - 1)))
        end
        check.equal(table.concat(out), TEXT)
      end
    end
  end)

  check.case("goes on with what follows in the same reply", function()
    check.equal(inflate.push(inflate.decoder("gzip"), GZIP .. GZIP), TEXT .. TEXT)
  end)

  check.case("gives what has come, before the end has", function()
    local decoder, text = inflate.decoder("gzip"), ""
    for at = 1, #GZIP - 8 do
      text = text .. inflate.push(decoder, GZIP:sub(at, at))
    end
    check.equal(text, TEXT)
  end)

  check.case("says what it cannot read, whatever it is", function()
    for _, bad in ipairs({ "nonsense nonsense", ("\0"):rep(40), GZIP:sub(1, 20) .. ("x"):rep(40) }) do
      local out, problem = inflate.push(inflate.decoder("gzip"), bad)
      check.equal(out, nil)
      check.equal(type(problem), "string")
    end
  end)

  check.case("does not unpack a bomb", function()
    local packed = assert(inflate.push(inflate.decoder("gzip"), BOMB))
    local out, problem = inflate.push(inflate.decoder("gzip"), packed)
    check.equal(out, nil)
    check.equal(problem:find("more than 8388608", 1, true) ~= nil, true)
  end)
end
