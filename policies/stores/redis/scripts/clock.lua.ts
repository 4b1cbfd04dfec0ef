/** The store's clock in Lua: Redis's own, unless a test passes another. */
export const clock = `
local time = redis.call('TIME')
local now = ARGV[1] == '' and time[1] * 1000 + math.floor(time[2] / 1000) or tonumber(ARGV[1])
`
