/** Fills a protocol's closing events; see `final_template` in `tap.ts`. */

import { isObject } from './json.ts'

export interface FinalState {
  /** The first event of the stream, parsed; undefined when it was not JSON. */
  readonly first: unknown
  /** The last event forwarded, parsed. */
  readonly last: unknown
  /** Estimate of what was delivered. */
  readonly tokens: number
}

export function fillTemplate(template: string, state: FinalState): string {
  return template.replace(/\{\{([A-Za-z0-9_.]+)\}\}/g, (_, path: string) => {
    const [root, ...keys] = path.split('.')
    if (root === 'tokens') return String(Math.ceil(state.tokens))
    let value: unknown = root === 'first' ? state.first : state.last
    for (const key of keys) value = isObject(value) ? value[key] : undefined
    return JSON.stringify(value) ?? 'null'
  })
}
