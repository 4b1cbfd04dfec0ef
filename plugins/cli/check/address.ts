/** What a service says of where it leads. */

import { type Raw, text } from './place.ts'

export interface Address {
  readonly protocol: string
  readonly host: string
}

export function addressOf(service: Raw): Address | undefined {
  const url = text(service.url)
  if (url !== undefined && URL.canParse(url)) {
    const { protocol, hostname } = new URL(url)
    return { protocol: protocol.slice(0, -1), host: hostname }
  }
  const host = text(service.host)
  return host === undefined ? undefined : { protocol: text(service.protocol) ?? 'http', host }
}
