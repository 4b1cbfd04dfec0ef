/** IBANs (ISO 13616): length by country and the MOD 97-10 check. Lengths are those of SWIFT's registry, release 99. */

import { mod97 } from '../checksums.ts'

const LENGTHS: Readonly<Record<string, number>> = Object.fromEntries(
  (
    'AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ' +
    'ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IR26 IS26 IT27 JO30 KW30 ' +
    'KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 ' +
    'PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 ' +
    'XK20 YE30 DZ26 AO25 BF28 BJ28 CF27 CG27 CI28 CM27 CV25 GA27 GQ27 GW25 KM27 MA28 MG27 ML28 MZ25 NE28 SN28 TD27 TG28'
  )
    .split(' ')
    .map((entry) => [entry.slice(0, 2), Number(entry.slice(2))]),
)

const SHAPE = /[A-Z]{2}\d{2}(?:[ \u00a0-]?[A-Z0-9]){11,30}/iy
const DOT = 46
/** By fours in capitals only: names of hosts and files have dots, too. */
const DOTTED = /[A-Z]{2}\d{2}(?:\.[A-Z0-9]{4}){2,7}(?:\.[A-Z0-9]{1,3})?/y

/**
 * The end of an IBAN that starts at `start`, spaces, dashes and dots allowed, or -1.
 */
export function ibanEnd(text: string, start: number): number {
  const length = LENGTHS[text.slice(start, start + 2).toUpperCase()]
  if (length === undefined) return -1
  const shape = text.charCodeAt(start + 4) === DOT ? DOTTED : SHAPE
  shape.lastIndex = start
  if (!shape.test(text)) return -1
  let end = start
  let compacted = ''
  while (compacted.length < length && end < shape.lastIndex) {
    const code = text.charCodeAt(end++)
    if (code !== 32 && code !== 45 && code !== 0xa0 && code !== DOT) compacted += String.fromCharCode(code)
  }
  if (compacted.length < length) return -1
  const upper = compacted.toUpperCase()
  return mod97(upper.slice(4) + upper.slice(0, 4)) === 1 ? end : -1
}
