/** Dates of birth beside a word that says so; dates alone only where a text is nothing else. */

import { PRIORITY } from '../finding.ts'
import type { KeywordDetector, Scan } from '../scan.ts'
import { isLetter } from '../text.ts'

const NUMERIC =
  '(?:(?:19|20)\\d\\d(?<ymd>[-./])(?:1[0-2]|0?[1-9])\\k<ymd>(?:3[01]|[12]\\d|0?[1-9])|(?:3[01]|[12]\\d|0?[1-9])(?<dmy>[-./ ])(?:3[01]|[12]\\d|0?[1-9])\\k<dmy>(?:(?:19|20)\\d\\d|\\d\\d)|(?:19|20)\\d\\d年\\d{1,2}月\\d{1,2}日)(?!\\d|[-./ ]\\d\\d)'
const MONTH =
  '(?:jan(?:uary|uar|vier|uari|eiro|\\.)?|feb(?:ruary|ruar|ruari|braio|rero|\\.)?|f[eé]v(?:rier|ereiro|\\.)?|m[aä]r(?:ch|z|s|t|zo|ts|\\.)?|mars|maart|mar[cç]o|marca|apr(?:il|ile|\\.)?|avr(?:il|\\.)?|abr(?:il|\\.)?|kwietnia|ma(?:y|i|io|yo|j|ja)|mei|jun(?:e|i|io|ho|\\.)?|juin|giugno|czerwca|jul(?:y|i|io|ho|\\.)?|juil(?:let|\\.)?|luglio|lipca|aug(?:ust|usti|ustus|\\.)?|ao[uû]t|ag(?:osto|o\\.)|sierpnia|sep(?:tember|tembre|tiembre|t\\.?|\\.)?|set(?:tembre|embro|\\.)?|wrze[sś]nia|o[ckt]t(?:ober|obre|ubre|ubro|\\.)?|outubro|ottobre|pa[zź]dziernika|nov(?:ember|embre|iembre|embro|\\.)?|listopada|de[czs](?:ember|embre|iembre|embro|\\.)?|d[ée]c(?:embre|\\.)?|dicembre|diciembre|grudnia|stycznia|lutego|genn?aio|enero|gen\\.?)'
const WRITTEN = `(?:\\d{1,2}(?:st|nd|rd|th|er|\\.|º|°)?[ -](?:de |di |d'|of )?${MONTH}[ ,-]{1,2}(?:de |del |of )?(?:19|20)\\d\\d|${MONTH}[ -]\\d{1,2}(?:st|nd|rd|th)?,?[ -](?:19|20)\\d\\d)(?!\\d)`
const DATE = new RegExp(`${NUMERIC}|${WRITTEN}`, 'i')
const TIME = '(?:[T ][0-2]\\d:[0-5]\\d(?::[0-5]\\d(?:\\.\\d{1,9})?)?(?:Z|[+-][0-2]\\d:?[0-5]\\d)?)?'
const BARE = new RegExp(
  `(?:${NUMERIC}|${WRITTEN}|\\d{1,2}-[a-z]{3}(?:-(?:\\d{4}|\\d\\d))?(?![a-z\\d])|(?:0?[1-9]|1[0-2])/(?:(?:19|20)\\d\\d|\\d\\d)(?![\\d/]))${TIME}`,
  'iy',
)

const AHEAD = 48

/** Announces a date of birth. Folded: accents do not count. */
export const BIRTH_KEYWORDS = [
  'born',
  'birth',
  'dob',
  'd.o.b',
  'geboren',
  'geburtsdatum',
  'geburtstag',
  'geb.',
  'ne le',
  'nee le',
  'naissance',
  'nacid',
  'nacimiento',
  'nacio',
  'naci el',
  'nascid',
  'nascimento',
  'nasceu',
  'nato il',
  'nata il',
  'nascita',
  'nato/a',
  'geboortedatum',
  'geboorte',
  'urodz',
  'fodd',
  'fodelsedatum',
  'fodsel',
  'syntym',
  'narozen',
  'dogum',
  'szulet',
  'nascut',
  'fecha de nac',
] as const

/** The date within reach after a word of birth. */
export const findBirthDate: KeywordDetector = (scan, start, end) => {
  const { text } = scan
  if (start > 0 && isLetter(text.charCodeAt(start - 1)) && isLetter(text.charCodeAt(start))) {
    const word = text.slice(start, end).toLowerCase()
    if (word === 'born' || word === 'dob' || word === 'ne le' || word.startsWith('nac') || word === 'fodd') return
  }
  const ahead = text.slice(end, end + AHEAD)
  const match = /\d/.test(ahead) ? DATE.exec(ahead) : null
  const between = match === null ? '' : ahead.slice(0, match.index)
  if (match === null || /[.!?]\s+\p{Lu}/u.test(between) || /\d/.test(between)) {
    findBefore(scan, start)
    return
  }
  const first = end + match.index
  scan.candidates.push({ type: 'BIRTH_DATE', start: first, end: first + match[0].length, priority: PRIORITY.checked })
}

const BEHIND = 60
const ALL_DATES = new RegExp(DATE.source, 'gi')

/** `ich wurde am 3. Mai 1980 geboren`: the date stands before the word. */
function findBefore(scan: Scan, start: number): void {
  const behind = scan.text.slice(Math.max(0, start - BEHIND), start)
  const offset = start - behind.length
  if (!/\d/.test(behind)) return
  for (const match of behind.matchAll(ALL_DATES)) {
    const rest = behind.slice(match.index + match[0].length)
    if (rest.length > 30 || /[.!?]\s|\d/.test(rest)) continue
    const first = offset + match.index
    scan.candidates.push({ type: 'BIRTH_DATE', start: first, end: first + match[0].length, priority: PRIORITY.checked })
  }
}

/** The end of a date at `start`, or -1. */
export function bareDateEnd(text: string, start: number): number {
  BARE.lastIndex = start
  return BARE.test(text) ? BARE.lastIndex : -1
}

const WITH_MONTH = new RegExp(`${WRITTEN}|(?<![a-z])${MONTH}-(?:(?:19|20)\\d\\d|\\d\\d)(?!\\d)`, 'gi')

/** Every such date has a year right behind one of these. Most texts have none, and are spared the search. */
const HAS_YEAR = /[ ,-]\d\d/

/** Dates with the name of a month, only for a text that is nothing but values. */
export function findBareDates(scan: Scan): void {
  if (!HAS_YEAR.test(scan.text)) return
  for (const match of scan.text.matchAll(WITH_MONTH)) {
    scan.candidates.push({
      type: 'DATE',
      start: match.index,
      end: match.index + match[0].length,
      priority: PRIORITY.guessed,
    })
  }
}
