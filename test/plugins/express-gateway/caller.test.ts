import { describe, expect, it } from 'vitest'
import { callerOf } from '../../../plugins/express-gateway/caller.ts'
import type { EgRequest, EgServices } from '../../../plugins/express-gateway/eg.ts'

async function addressOf(request: Partial<EgRequest>): Promise<string | undefined> {
  const caller = await callerOf(request as EgRequest, { services: {} as EgServices, keys: [], mayHoldClaims: false })
  return caller.address
}

describe('the address of a caller', () => {
  it.each([
    ['::ffff:127.0.0.1', '127.0.0.1'],
    ['::FFFF:203.0.113.9', '203.0.113.9'],
    ['0:0:0:0:0:ffff:203.0.113.9', '203.0.113.9'],
    ['::ffff:cb00:7109', '203.0.113.9'],
  ])('is that of IPv4 where it is written as %s', async (written, address) => {
    expect(await addressOf({ ip: written })).toBe(address)
    expect(await addressOf({ socket: { remoteAddress: written } as EgRequest['socket'] })).toBe(address)
  })

  it.each([
    '127.0.0.1',
    '::1',
    '2001:db8::ffff:1',
    '::ffff:0:203.0.113.9',
    '0:ffff::1',
    '::ffff:1.2.3.4%eth0',
    'unknown',
    '',
  ])('stays %s', async (written) => {
    expect(await addressOf({ ip: written })).toBe(written)
  })
})
