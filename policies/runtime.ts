/**
 * State that outlives a request and a plugin instance. Gateways throw instances away (Kong after 60 idle seconds,
 * Express Gateway on every reload), so what must last is kept here, keyed by the operator's own config.
 */

export interface Runtime {
  /** The one value for this kind and config; `create` runs the first time only. */
  share<T>(kind: string, config: unknown, create: () => T): T
  /** Closes every shared value that has a `close` and forgets them all. */
  close(): Promise<void>
}

export function createRuntime(): Runtime {
  const values = new Map<string, unknown>()
  return {
    share<T>(kind: string, config: unknown, create: () => T): T {
      const key = `${kind} ${canonical(config)}`
      if (values.has(key)) return values.get(key) as T
      const value = create()
      values.set(key, value)
      return value
    },
    async close() {
      const closing = [...values.values()]
      values.clear()
      await Promise.all(closing.map(closeOne))
    },
  }
}

async function closeOne(value: unknown): Promise<void> {
  if (typeof value !== 'object' || value === null || !('close' in value)) return
  if (typeof value.close === 'function') await value.close()
}

/**
 * JSON with sorted keys, without nulls and without a gateway's private keys (`__seq__`, `__plugin_id`, `$refs`):
 * they change on every reload and would lose the counters.
 */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const members = Object.entries(value)
    .filter(([key, member]) => member !== undefined && member !== null && !key.startsWith('__') && key !== '$refs')
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`)
  return `{${members.join(',')}}`
}
