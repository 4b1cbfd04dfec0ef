/** The store's clock in Lua: Redis's own, unless a test passes another as the first argument. */
export const clock = `
local time = redis.call('TIME')
local now = ARGV[1] == '' and time[1] * 1000 + math.floor(time[2] / 1000) or tonumber(ARGV[1])
`

/** The same for the script that reserves; and its arguments beside the claims, as `claims.lua.ts` has them. */
export const reserveClock = `
local time = redis.call('TIME')
local now = time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
local n, before, other_clip, other_floor = tonumber(ARGV[1]), 1, '', 0
if not n then
  n, before = 1, 0
elseif n < 0 then
  n = -n
  if ARGV[#ARGV - 2] ~= '' then now = tonumber(ARGV[#ARGV - 2]) end
  other_clip, other_floor = ARGV[#ARGV - 1], ARGV[#ARGV] + 0
end
`
