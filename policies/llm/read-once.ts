/** The policies of one request read the same body, one after the other: what one has understood serves the others. */

import type { JsonBody } from './json.ts'
import { memo } from './memo.ts'
import type { LlmCall, Operation, Protocol } from './protocol.ts'

interface Understood {
  readonly operation: Operation
  readonly call: LlmCall
}

/** The same reading, which remembers the call of each body as long as somebody holds the body. A refusal is not kept. */
export function readOnce(read: Protocol['read']): Protocol['read'] {
  const understood = memo<Understood>('understood')
  return (body: JsonBody, operation) => {
    const before = understood.of(body)
    if (before !== undefined && isSame(before.operation, operation)) return before.call
    const call = read(body, operation)
    understood.keep(body, { operation, call })
    return call
  }
}

function isSame(one: Operation, other: Operation): boolean {
  if (one === other) return true
  return one.name === other.name && one.read === other.read && one.model === other.model && one.stream === other.stream
}
