/** The argument of `portcullis.Settle`, as `settle.lua` of llm-edge makes it. */

import { CONTRACT_VERSION } from '../../../plugins/kong/shared-context.ts'

export interface SettleRecord {
  readonly reservations?: string | undefined
}

/** @param message as it would be with the reservations inside of their records */
export function settleMessage(message: {
  readonly records?: readonly SettleRecord[]
  /** In place of records: requests by their ids. */
  readonly ended?: readonly object[]
  /** Beside `ended`: refused requests, and which plugins Kong never heard of. */
  readonly unheard?: readonly object[]
  readonly configs?: unknown
  readonly version?: number
}): readonly [string, Buffer] {
  const records = message.records?.map(({ reservations, ...record }) =>
    reservations === undefined ? record : { ...record, held_bytes: Buffer.byteLength(reservations) },
  )
  const held = message.records?.map(({ reservations = '' }) => reservations).join('') ?? ''
  return [JSON.stringify({ version: CONTRACT_VERSION, configs: [], ...message, records }), Buffer.from(held)]
}
