/** Street addresses, on the opt-in level: a street word of the language with a house number beside it. */

import { PRIORITY } from '../finding.ts'
import type { KeywordDetector, Scan } from '../scan.ts'
import { isLetter, isWord } from '../text.ts'

/** Number first, street word last: English. */
const AFTER = [
  'street',
  ' st.',
  ' st,',
  'avenue',
  ' ave',
  'road',
  ' rd',
  'boulevard',
  ' blvd',
  ' lane',
  ' drive',
  ' court',
  ' square',
  ' terrace',
  ' crescent',
  ' parkway',
  ' highway',
] as const
/** Street word as the end of the name, number last: German, Dutch, the Nordic languages. */
const COMPOUND = [
  'strasse',
  'strase',
  'str.',
  'gasse',
  'allee',
  'platz',
  'weg',
  'damm',
  'ufer',
  'straat',
  'laan',
  'plein',
  'gracht',
  'kade',
  'gatan',
  'vagen',
  'vej',
  'gade',
  'veien',
  'gata',
  'katu',
  'tie',
] as const
/** Street word first: Romance and Slavic languages. French puts the number before it. */
const BEFORE = [
  'rue ',
  'avenue ',
  'boulevard ',
  'place ',
  'chemin ',
  'impasse ',
  'quai ',
  'calle ',
  'avenida ',
  'plaza ',
  'paseo ',
  'carrera ',
  'via ',
  'viale ',
  'piazza ',
  'corso ',
  'vicolo ',
  'rua ',
  'travessa ',
  'praca ',
  'ul. ',
  'ulica ',
  'al. ',
  'aleja ',
] as const

export const ADDRESS_KEYWORDS: readonly string[] = [
  ...new Set<string>([...AFTER, ...COMPOUND, ...BEFORE, 'p.o. box ', 'po box ', 'postfach ']),
]

const ENGLISH_LEAD =
  /(?:\b\d{1,5}[A-Za-z]?,?[ ](?:(?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\.?[ ])?(?:\p{Lu}[\p{L}'.-]{0,20}[ ]){0,3}(?:\p{Lu}[\p{L}'.-]{0,20})?)$/u
const TOWN =
  /(?:,?[ ](?:Apt|Suite|Unit|Flat|#)[. ]?\w{1,6})?(?:,[ ]\p{Lu}[\p{L}.'-]{1,20}(?:[ ]\p{Lu}[\p{L}.'-]{1,20}){0,2})?(?:,?[ ][A-Z]{2}[ ]\d{5}(?:-\d{4})?|,?[ ][A-Z]{1,2}\d[\dA-Z]?[ ]?\d[A-Z]{2})?/uy
const NUMBER_AFTER =
  /[ ]\d{1,4}[ ]?[a-zA-Z]?(?![\p{L}\d])(?:,?[ ](?:[A-Z]{1,2}-)?\d{4,5}(?:[ ]?[A-Z]{2})?[ ]\p{Lu}[\p{L}-]{1,25}|,[ ]\d{2}-\d{3}[ ]\p{Lu}[\p{L}-]{1,25})?/uy
const NAME_AFTER =
  /(?:(?:de|du|des|della|delle|dei|del|di|la|las|los|el|da|do|dos|das|le|les|l'|d'|św\.)[ ]?){0,3}\p{Lu}[\p{L}'’.-]{1,25}(?:[ ](?:(?:de|du|des|del|la|y|e|da|di|dos)[ ]){0,2}\p{Lu}[\p{L}'’.-]{1,25}){0,3}/uy
const HOUSE_AFTER = /,?[ ](?:n[º°o.]{1,2}[ ]?|nr[ ]?)?\d{1,5}(?:[ ]?[a-zA-Z](?![\p{L}]))?(?:\/\d{1,4})?/uy
const HOUSE_BEFORE = /\b\d{1,4}(?:[ ]?(?:bis|ter))?,?[ ]$/

function push(scan: Scan, start: number, end: number): void {
  scan.candidates.push({ type: 'ADDRESS', start, end, priority: PRIORITY.person })
}

/** Starts at a street word. */
export const findAddress: KeywordDetector = (scan, start, end) => {
  const { text } = scan
  const keyword = text.slice(start, end).toLowerCase()
  if (keyword.endsWith('box ') || keyword === 'postfach ') {
    const number = /(?:\d[\d ]{0,9}\d|\d)/y
    number.lastIndex = end
    if (number.test(text)) push(scan, start, number.lastIndex)
    return
  }
  if (isLetter(text.charCodeAt(end)) && isLetter(text.charCodeAt(end - 1))) return

  // `12 Main Street, Springfield`
  const lead = text.slice(Math.max(0, start - 70), start)
  const english = ENGLISH_LEAD.exec(lead)
  if (
    english !== null &&
    (text[start] === ' ' || lead.endsWith(' ')) &&
    /^[ ]?\p{Lu}/u.test(text.slice(start, start + 2))
  ) {
    TOWN.lastIndex = end
    const town = TOWN.exec(text)
    push(scan, start - english[0].length, end + (town?.[0].length ?? 0))
    return
  }
  // `Hauptstraße 12`, `Kerkstraat 5`
  const stem = /(?:\p{Lu}[\p{L}.-]{1,30}(?:[ -]\p{Lu}[\p{L}.-]{0,30}){0,2}[ -]?)$/u.exec(lead)
  NUMBER_AFTER.lastIndex = end
  if ((stem !== null || /^\p{Lu}/u.test(text.slice(start, start + 2))) && NUMBER_AFTER.test(text)) {
    push(scan, start - (stem?.[0].length ?? 0), NUMBER_AFTER.lastIndex)
    return
  }
  // `12 rue de la Paix`, `Calle Mayor 5`, `ul. Długa 7/3`
  if (start > 0 && isWord(text.charCodeAt(start - 1))) return
  NAME_AFTER.lastIndex = end
  if (!NAME_AFTER.test(text)) return
  const named = NAME_AFTER.lastIndex
  const house = HOUSE_BEFORE.exec(lead)
  HOUSE_AFTER.lastIndex = named
  if (house !== null) push(scan, start - house[0].length, named)
  else if (HOUSE_AFTER.test(text)) push(scan, start, HOUSE_AFTER.lastIndex)
}
