import { describe, expect, test } from 'vitest'
import { createRedactor, redact } from '../../../policies/redaction/index.ts'

const redactor = createRedactor()
const mask = (text: string) => redactor.redact(text).text

test.each([
  ['Write to jane.doe+x@example.co.uk.', 'Write to [EMAIL].'],
  ['<Jane@Example.com>', '<[EMAIL]>'],
  ['mailto:jane@example.com?subject=hi', 'mailto:[EMAIL]?subject=hi'],
  ['müller@bücher.de schrieb', '[EMAIL] schrieb'],
  ['Call (415) 555-0132 x12 today', 'Call [PHONE] today'],
  ['ring +44 20 7946 0958.', 'ring [PHONE].'],
  ['Tel.: 030/1234567', 'Tel.: [PHONE]'],
  ['Appelez le 01.42.68.53.00 demain', 'Appelez le [PHONE] demain'],
  ['0049 30 1234567 ist meine Nummer', '[PHONE] ist meine Nummer'],
  ['card 4242 4242 4242 4242, thanks', 'card [CARD], thanks'],
  ['pay 4242-4242-4242-4242', 'pay [CARD]'],
  ['pay 4242.4242.4242.4242.', 'pay [CARD].'],
  ['amex 3782.822463.10005', 'amex [CARD]'],
  ['to GB82 WEST 1234 5698 7654 32 now', 'to [IBAN] now'],
  ['to GB82.WEST.1234.5698.7654.32. Thanks', 'to [IBAN]. Thanks'],
  ['to DE89.3704.0044.0532.0130.00', 'to [IBAN]'],
  ['from 203.0.113.77 and 2001:db8:85a3::8a2e:370:7334', 'from [IP] and [IP]'],
  ['mac 3c:22:fb:01:02:03', 'mac [MAC]'],
  ['send to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2 please', 'send to [CRYPTO_ADDRESS] please'],
  ['send to bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq please', 'send to [CRYPTO_ADDRESS] please'],
  ['She was born on July 4, 1976 in Ohio', 'She was born on [BIRTH_DATE] in Ohio'],
  ['Ich wurde am 3. Mai 1980 geboren.', 'Ich wurde am [BIRTH_DATE] geboren.'],
  ['DOB: 1980-05-03', 'DOB: [BIRTH_DATE]'],
  ['see https://bob:s3cr3t@host.example/x for it', 'see https://[URL_CREDENTIALS]@host.example/x for it'],
])('masks %j', (text, expected) => {
  expect(mask(text)).toBe(expected)
})

describe('sees through what typesetting puts between the groups of a number', () => {
  const joints = ['\u00a0', '\u202f', '\u2009', '\u2007', '\u2010', '\u2011', '\u2012', '\u2013', '\u2212']
  test.each(joints.map((joint) => [`U+${joint.charCodeAt(0).toString(16)}`, joint] as const))('%s', (_, joint) => {
    const card = ['4242', '4242', '4242', '4242'].join(joint)
    const iban = ['GB82', 'WEST', '1234', '5698', '7654', '32'].join(joint)
    expect(mask(`She paid with ${card} yesterday, and the rest from ${iban} today.`)).toBe(
      'She paid with [CARD] yesterday, and the rest from [IBAN] today.',
    )
    expect(mask(card)).toBe('[CARD]')
    expect(mask(JSON.stringify(card).replace(/[^\x20-\x7e]/g, escaped))).toBe('"[CARD]"')
  })

  test.each(['\u202a', '\u202c', '\u202e', '\u2066', '\u2069'])('an invisible change of direction: %j', (mark) => {
    expect(mask(`Write to jane${mark}@example.com or pay with 4242 4242 4242${mark} 4242.`)).toBe(
      'Write to [EMAIL] or pay with [CARD].',
    )
  })

  test('and still takes no range of years or times for a number', () => {
    for (const text of ['From 2010–2015 and 2016–2020 in 12 000 km', 'pages 1234–1240, 10–12 o’clock, 1‑2 hours'])
      expect(mask(text)).toBe(text)
  })
})

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

describe('leaves alone', () => {
  test.each([
    'It&#39;s &quot;here&quot; &#38; there&nbsp;&#8212; see &#167; 4, &#x2026; and &#99999999; or &#xfffffff; or &#; too',
    'The totals were 1234.5678, 4242.4242 and 10.10.2024, version 1200.0000.1234.1234 of 4242.4242.4242.4243 builds.',
    'The hosts no12.mail.test.site.info and de89.example.com, file AT20.TXT.GZ.PART, class GB82.West.Field.',
    'A discount of 25%2525 off, C:\\\\users\\\\x, and %25 of %2520 all.',
    'npm install @scope/name@1.2.3 and icon@2x.png',
    'git clone git@github.com:owner/name.git',
    'Listen on 127.0.0.1:8080 or 0.0.0.0, mask 255.255.255.0',
    'Version 1.2.3.4 follows v1.2.3.3; see section 24.5.1.1',
    'std::vector<int> a::b and 12:30:45 at ::before',
    'It happened on 2024-01-31 and again on 3 May 2021.',
    'The order 1234567890 shipped; 1,234,567,890 more wait.',
    'Card 4242 4242 4242 4241 fails its check, GB83 WEST 1234 5698 7654 32 too.',
    'See https://example.com/a?b=c and http://user@host/',
    'The year 1999-2004 was 555-1234 long',
    'sum of 0.123456789 and 98.7654321 and 1e10',
    'Boston, MA 02110-1301 USA',
  ])('%j', (text) => {
    expect(redactor.find(text)).toEqual([])
  })
})

describe('what hides characters is looked through once', () => {
  test.each([
    ['jane%40example.com', '[EMAIL]'],
    ['mail \\u006aane\\u0040example.com now', 'mail [EMAIL] now'],
    ['mail jane\\\\u0040example.com now', 'mail [EMAIL] now'],
    ['mail jane\\\\\\\\u0040example.com now', 'mail [EMAIL] now'],
    ['?q=jane%2540example.com&r=1', '?q=[EMAIL]&r=1'],
    ['?q=jane%252540example.com&r=1', '?q=[EMAIL]&r=1'],
    ['mail jane&#64;example.com now', 'mail [EMAIL] now'],
    ['mail jane&#064;example.com now', 'mail [EMAIL] now'],
    ['mail jane&#x40;example&#46;com now', 'mail [EMAIL] now'],
    ['mail jane&commat;example&period;com now', 'mail [EMAIL] now'],
    ['mail &#106;&#97;&#110;&#101;&#64;example.com now', 'mail [EMAIL] now'],
    ['card 4242&nbsp;4242&nbsp;4242&nbsp;4242, thanks', 'card [CARD], thanks'],
    ['card 4242&#160;4242&#160;4242&#xA0;4242, thanks', 'card [CARD], thanks'],
    ['card 4242&#8239;4242&#8239;4242&#8239;4242, thanks', 'card [CARD], thanks'],
    ['card ４２４２ ４２４２ ４２４２ ４２４２ ok', 'card [CARD] ok'],
    ['jane\u200b@\u200bexample.com', '[EMAIL]'],
    ['4242\u200b4242\u200b4242\u200b4242', '[CARD]'],
    ['"https:\\/\\/bob:s3cr3t@host.example\\/x is it"', '"https:\\/\\/[URL_CREDENTIALS]@host.example\\/x is it"'],
  ])('%j', (text, expected) => {
    expect(mask(text)).toBe(expected)
  })

  test('offsets are those of the input', () => {
    const text = `${'x '.repeat(300)}jane%40example.com${' y'.repeat(300)}`
    const [finding] = redactor.find(text)
    expect(text.slice(finding?.start, finding?.end)).toBe('jane%40example.com')
  })
})

describe('names and addresses are opt-in', () => {
  const text = 'My name is Jane Miller, I live at 12 Main Street, Springfield, IL 62704.'

  test('off by default', () => {
    expect(redact(text).findings).toEqual([])
  })

  test.each([
    [text, 'My name is [NAME], I live at [ADDRESS].'],
    ['Sehr geehrte Frau Müller, Hauptstraße 12, 10115 Berlin', 'Sehr geehrte Frau [NAME], [ADDRESS]'],
    ["J'habite 12 rue de la Paix, dit Pierre Dupont.", "J'habite [ADDRESS], dit [NAME]."],
    ['Vivo en Calle Mayor 5. Me llamo Ana García López.', 'Vivo en [ADDRESS]. Me llamo [NAME].'],
    ['Mieszkam na ul. Długa 7/3 w Krakowie', 'Mieszkam na [ADDRESS] w Krakowie'],
    ['Ik woon op Kerkstraat 5 bis', 'Ik woon op [ADDRESS] bis'],
    ['Dear Team, this is Great news about Google Chrome', 'Dear Team, this is Great news about Google Chrome'],
  ])('%j', (input, expected) => {
    expect(redact(input, { families: ['pii', 'person'] }).text).toBe(expected)
  })
})
