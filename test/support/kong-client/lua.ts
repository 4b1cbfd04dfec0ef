/** Values as Kong's Lua holds and packs them (lua-MessagePack 0.5, `kong/runloop/plugin_servers/rpc/mp_rpc.lua`). */

/** The `false` of mp_rpc.lua's `mp_empty_map`: an empty table that is packed as a map all the same. */
export const EMPTY_MAP: Readonly<Record<string, never>> = Object.freeze({})

/** What a decoded value becomes in a Lua table: a nil member does not exist. */
export function toLua(value: unknown): unknown {
  if (value === null || value === undefined) return undefined
  if (typeof value !== 'object' || value instanceof Uint8Array) return value
  if (Array.isArray(value)) return value.map(toLua).filter((item) => item !== undefined)
  const members = Object.entries(value).flatMap(([key, member]) => {
    const inLua = toLua(member)
    return inLua === undefined ? [] : [[key, inLua] as const]
  })
  return Object.fromEntries(members)
}

/** What is packed: an empty table is an array, a member that is nil does not exist. */
export function pack(value: unknown): unknown {
  if (value === EMPTY_MAP || value instanceof Uint8Array) return value
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(pack)
  const members = Object.entries(value).filter(([, member]) => member !== undefined && member !== null)
  return members.length === 0 ? [] : Object.fromEntries(members.map(([key, member]) => [key, pack(member)]))
}

/** `fix_mmap`: what headers and query arguments become. */
export function multiMap(table: Readonly<Record<string, unknown>>): unknown {
  const members = Object.entries(table).map(([key, value]) => {
    if (value === true) return [key, []] as const
    return [key, typeof value === 'string' ? [value] : value] as const
  })
  return members.length === 0 ? EMPTY_MAP : Object.fromEntries(members)
}
