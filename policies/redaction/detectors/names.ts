/** Names of persons, on the opt-in level: after titles, greetings and phrases of introduction, and by given names. */

import { PRIORITY } from '../finding.ts'
import type { KeywordDetector } from '../scan.ts'
import { isLetter, isWord } from '../text.ts'
import { GIVEN_NAMES } from './given-names.ts'

const WORD = "(?:\\p{Lu}[\\p{L}'’-]{0,30}|\\p{Lu}\\.)"
const PARTICLE =
  "(?:van|von|der|den|de|da|di|del|della|dos|das|do|du|la|le|af|av|al|bin|ibn|el|y|e|zu|zum|ter|ten|'t|d'|O')"
const FULL_NAME = new RegExp(`${WORD}(?:[ \\u00a0-](?:${PARTICLE}[ \\u00a0]){0,3}${WORD}){0,3}`, 'uy')
/** Capitalised words that follow a title or greeting without being a name. */
const NO_NAME =
  /^(?:Sir|Madam|Team|All|Customer|Friend|Friends|Colleagues?|Mr|Mrs|Ms|Dr|The|This|That|There|It|We|You|They|He|She|Not|Just|Very|Here|Happy|Sorry|Going|Trying|Looking|Using|Working|Kunden?|Damen|Herren|Kollegen|Nachbarn|Monsieur|Madame|Messieurs|Mesdames|Clients?|Se[nñ]or(?:es|a|as)?|Cliente|Signor[ea]?|Redactie|Redaktion|Support|Service|Hiring|God|Santa|Wikipedia|Google|Microsoft|Linux|Windows|English|German|French|January|February|March|April|May|June|July|August|September|October|November|December|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)\b/u

const TITLES = [
  'mr ',
  'mr. ',
  'mrs ',
  'mrs. ',
  'ms ',
  'ms. ',
  'miss ',
  'dr ',
  'dr. ',
  'prof. ',
  'professor ',
  'herr ',
  'herrn ',
  'frau ',
  'mme ',
  'mlle ',
  'madame ',
  'monsieur ',
  'm. ',
  'senor ',
  'senora ',
  'sr. ',
  'sra. ',
  'don ',
  'dona ',
  'signor ',
  'signora ',
  'sig. ',
  'sig.ra ',
  'dott. ',
  'dott.ssa ',
  'meneer ',
  'mevrouw ',
  'dhr. ',
  'mevr. ',
  'pan ',
  'pani ',
  'senhor ',
  'senhora ',
  'fru ',
] as const
const INTRODUCTIONS = [
  'my name is ',
  'i am ',
  "i'm ",
  'this is ',
  'name: ',
  'name is ',
  'dear ',
  'regards, ',
  'sincerely, ',
  'signed by ',
  'ich heisse ',
  'ich bin ',
  'mein name ist ',
  'liebe ',
  'lieber ',
  'hallo ',
  "je m'appelle ",
  'je suis ',
  'cher ',
  'chere ',
  'bonjour ',
  'me llamo ',
  'mi nombre es ',
  'soy ',
  'querido ',
  'querida ',
  'hola ',
  'mi chiamo ',
  'sono ',
  'caro ',
  'cara ',
  'ciao ',
  'mijn naam is ',
  'ik ben ',
  'ik heet ',
  'beste ',
  'nazywam sie ',
  'jestem ',
  'mam na imie ',
  'chamo-me ',
  'meu nome e ',
  'sou o ',
  'sou a ',
  'jag heter ',
  'mitt namn ar ',
  'hej ',
  'contact: ',
  'patient: ',
  'patient ',
  'customer: ',
  'client: ',
  'kunde: ',
  'author: ',
] as const

export const NAME_KEYWORDS: readonly string[] = [...TITLES, ...INTRODUCTIONS, ...GIVEN_NAMES]

const TITLED: ReadonlySet<string> = new Set(TITLES)
const INTRODUCED: ReadonlySet<string> = new Set(INTRODUCTIONS)

function fold(value: string): string {
  return value.normalize('NFD').replace(/\p{M}/gu, '').replace(/ß/g, 'ss').toLowerCase()
}

/** Starts at a title, an introduction or a given name. */
export const findName: KeywordDetector = (scan, start, end) => {
  const { text } = scan
  if (start > 0 && isWord(text.charCodeAt(start - 1))) return
  const keyword = fold(text.slice(start, end))
  const announced = TITLED.has(keyword) || INTRODUCED.has(keyword)
  const from = announced ? end : start
  FULL_NAME.lastIndex = from
  const match = FULL_NAME.exec(text)
  if (match === null || NO_NAME.test(match[0])) return
  const last = FULL_NAME.lastIndex
  if (isLetter(text.charCodeAt(last))) return
  const words = match[0].split(/[ \u00a0]/)
  if (!announced) {
    // A given name alone is too often a word, a place or a product: a family name must follow.
    if (words.length < 2 || isLetter(text.charCodeAt(end)) || NO_NAME.test(words[1] ?? '')) return
  } else if (INTRODUCED.has(keyword) && words.length < 2) {
    if (!GIVEN.has(fold(words[0] ?? ''))) return
  }
  if (/^[\p{Lu}\s.'-]+$/u.test(match[0]) && words.length < 2) return
  scan.candidates.push({ type: 'NAME', start: from, end: last, priority: PRIORITY.person })
}

const GIVEN: ReadonlySet<string> = new Set(GIVEN_NAMES)
