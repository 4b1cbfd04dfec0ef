import { BlockList } from 'node:net'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { isInside, parseAddress, parseRange } from '../../../policies/api-key/address.ts'

function inside(address: string, range: string): boolean {
  const [groups, parsed] = [parseAddress(address), parseRange(range)]
  if (groups === undefined || parsed === undefined) throw new Error(`cannot read ${address} or ${range}`)
  return isInside(groups, parsed)
}

it.each([
  ['10.1.2.3', '10.0.0.0/8', true],
  ['11.1.2.3', '10.0.0.0/8', false],
  ['10.1.2.3', '10.255.0.1/8', true],
  ['192.0.2.7', '192.0.2.7', true],
  ['192.0.2.8', '192.0.2.7', false],
  ['192.0.2.8', '192.0.2.7/31', false],
  ['192.0.2.6', '192.0.2.7/31', true],
  ['1.2.3.4', '0.0.0.0/0', true],
  ['::ffff:10.1.2.3', '10.0.0.0/8', true],
  ['::ffff:a01:203', '10.0.0.0/8', true],
  ['10.1.2.3', '::ffff:10.0.0.0/104', true],
  ['11.1.2.3', '::ffff:10.0.0.0/104', false],
  ['1.2.3.4', '::ffff:0:0/96', true],
  ['2001:db8::1', '::ffff:0:0/96', false],
  ['10.1.2.3', '::/0', false],
  ['2001:db8::1', '0.0.0.0/0', false],
  ['2001:db8::1', '::/0', true],
  ['2001:db8:0:1::1', '2001:db8::/32', true],
  ['2001:db9::1', '2001:db8::/32', false],
  ['2001:DB8::1', '2001:db8::1', true],
  ['2001:db8::1', '2001:0db8:0000:0000:0000:0000:0000:0001/128', true],
  ['fe80::1%eth0', 'fe80::/10', true],
  ['::1', '::1', true],
  ['::', '::', true],
  ['1::', '1::/16', true],
  ['10.9.9.9', '10.0.0.0_8', true],
  ['2001:db8::5', '2001:db8::_32', true],
])('%s in %s: %s', (address, range, expected) => expect(inside(address, range)).toBe(expected))

it.each([
  '',
  'localhost',
  '10.0.0',
  '10.0.0.256',
  '010.0.0.1',
  '10.0.0.1 ',
  ' ::1',
  '1:2',
  ':::',
  '::1::',
  'unix:',
  '10.0.0.1:80',
])('"%s" is no address', (text) => expect(parseAddress(text)).toBeUndefined())

it.each([
  '',
  '/8',
  '10.0.0.0/',
  '10.0.0.0/33',
  '10.0.0.0/-1',
  '10.0.0.0/08',
  '10.0.0.0/8/8',
  '10.0.0.0/255.0.0.0',
  '::/129',
  '::ffff:10.0.0.0/95',
  'fe80::%eth0/10',
  '*',
  '10.*',
  '10.0.0.0/8,11.0.0.0/8',
])('"%s" is no range', (text) => expect(parseRange(text)).toBeUndefined())

const v4 = fc.ipV4()
const v6 = fc.ipV6()

it('agrees with Node on ranges of both kinds', () => {
  const check = (family: 'ipv4' | 'ipv6', bits: number) =>
    fc.property(family === 'ipv4' ? v4 : v6, family === 'ipv4' ? v4 : v6, fc.nat(bits), (base, other, length) => {
      // Node counts mapped addresses as IPv4 in some places and as IPv6 in others.
      fc.pre(!/^(0*:)*:?(0+:)*ffff:|^::/i.test(base) && !/^(0*:)*:?(0+:)*ffff:|^::/i.test(other))
      const list = new BlockList()
      list.addSubnet(base, length, family)
      expect(inside(other, `${base}/${length}`)).toBe(list.check(other, family))
      expect(inside(base, `${base}/${length}`)).toBe(true)
    })
  fc.assert(check('ipv4', 32), { numRuns: 1_000 })
  fc.assert(check('ipv6', 128), { numRuns: 1_000 })
})

it('takes an address in IPv6 clothing for what it is', () => {
  fc.assert(
    fc.property(v4, fc.nat(32), (address, bits) => {
      expect(parseAddress(`::ffff:${address}`)).toEqual(parseAddress(address))
      expect(parseRange(`::ffff:${address}/${bits + 96}`)).toEqual(parseRange(`${address}/${bits}`))
    }),
  )
})

it('never throws', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f:./_%]{0,45}$/)), (text) => {
      parseAddress(text)
      parseRange(text)
    }),
    { numRuns: 3_000 },
  )
})
