import { expect, test } from 'vitest'
import {
  digitsOf,
  icao,
  luhn,
  mod11And10,
  mod97,
  monthAndDay,
  uniform,
  verhoeff,
} from '../../../policies/redaction/checksums.ts'
import { isCard } from '../../../policies/redaction/detectors/card.ts'
import { isBase58Check, isBech32 } from '../../../policies/redaction/detectors/crypto.ts'
import { ibanEnd } from '../../../policies/redaction/detectors/iban.ts'
import { isIpv6 } from '../../../policies/redaction/detectors/network.ts'

/** Every change of one digit must fail. */
function expectCatchesOneDigit(check: (digits: string) => boolean, valid: string): void {
  expect(check(valid)).toBe(true)
  for (let i = 0; i < valid.length; i++) {
    for (let shift = 1; shift < 10; shift++) {
      const changed = valid.slice(0, i) + ((Number(valid[i]) + shift) % 10) + valid.slice(i + 1)
      expect(check(changed), changed).toBe(false)
    }
  }
}

test('check digits catch every single wrong digit', () => {
  expectCatchesOneDigit(luhn, '79927398713')
  expectCatchesOneDigit(verhoeff, '2363')
  expectCatchesOneDigit(mod11And10, '86095742719')
})

test('remainders and weights as their standards give them', () => {
  expect(mod97('WEST12345698765432GB82')).toBe(1)
  expect(icao('L898902C36')).toBe(true)
  expect(icao('L898902C37')).toBe(false)
  expect(monthAndDay(2, 29)).toBe(true)
  expect(monthAndDay(4, 31)).toBe(false)
  expect(monthAndDay(13, 1)).toBe(false)
  expect(uniform('0000')).toBe(true)
  expect(digitsOf('1-2 3')).toBe('123')
})

test('cards need an issuer, a length and a check digit', () => {
  expect(isCard('4242424242424242')).toBe(true)
  expect(isCard('4242424242424241')).toBe(false)
  expect(isCard('378282246310005')).toBe(true)
  expect(isCard('1234567812345670')).toBe(false)
  expect(isCard('0000000000000000')).toBe(false)
})

test('IBANs end where their country says', () => {
  expect(ibanEnd('GB82 WEST 1234 5698 7654 32 and more', 0)).toBe(27)
  expect(ibanEnd('GB83WEST12345698765432', 0)).toBe(-1)
  expect(ibanEnd('ZZ82WEST12345698765432', 0)).toBe(-1)
})

test('IPv6 text forms of RFC 4291', () => {
  for (const valid of [
    '2001:db8::8:800:200c:417a',
    'ff01::101',
    '::1',
    '::',
    '::ffff:129.144.52.38',
    '1:2:3:4:5:6:7:8',
    '1::',
  ]) {
    expect(isIpv6(valid), valid).toBe(true)
  }
  for (const invalid of ['1:2:3', '1::2::3', '12345::', '1:2:3:4:5:6:7:8:9', 'g::1', '::1.2.3', '1:2:3:4:5:6:7::8:9']) {
    expect(isIpv6(invalid), invalid).toBe(false)
  }
})

test('addresses of crypto currencies carry checksums', () => {
  expect(isBase58Check('1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2')).toBe(true)
  expect(isBase58Check('1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3')).toBe(false)
  expect(isBech32('bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq')).toBe(true)
  expect(isBech32('bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp')).toBe(false)
  expect(isBech32('bc1qAR0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq')).toBe(false)
})
