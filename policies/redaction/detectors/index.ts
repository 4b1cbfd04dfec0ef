/** Puts the detectors of the chosen families behind one automaton. */

import { buildAutomaton } from '../automaton.ts'
import { ENTITY_KEYWORDS, noteEntity } from '../entities.ts'
import type { Family } from '../finding.ts'
import type { Detectors, KeywordDetector } from '../scan.ts'
import { ADDRESS_KEYWORDS, findAddress } from './addresses.ts'
import { BASE64_KEYWORDS, findBase64 } from './base64.ts'
import { findAuthorization, findCommandLineUser, findKubernetesSecret } from './credentials.ts'
import { BECH32_KEYWORDS, findBech32 } from './crypto.ts'
import { BIRTH_KEYWORDS, findBirthDate } from './dates.ts'
import { findEmail } from './email.ts'
import { compileIdTable } from './identifiers.ts'
import { findJwt, findPem, findPutty } from './keys.ts'
import { findName, NAME_KEYWORDS } from './names.ts'
import { NATIONAL_RULES } from './national/index.ts'
import { findColonAddress } from './network.ts'
import { numberDetector } from './numbers.ts'
import {
  findKey,
  findPassword,
  findPasswordOption,
  findSecret,
  KEY_KEYWORDS,
  PASSWORD_KEYWORDS,
  SECRET_KEYWORDS,
} from './secrets.ts'
import { findUrlCredentials } from './urls.ts'
import { keyedDetector, tokenDetector } from './vendor-detectors.ts'
import { KEYED_RULES, TOKEN_RULES } from './vendors/index.ts'

/** Compiles the detectors of `families`. */
export function compileDetectors(families: ReadonlySet<Family>): Detectors {
  const byKeyword = new Map<string, KeywordDetector[]>()
  const add = (keywords: readonly string[], detector: KeywordDetector) => {
    for (const keyword of keywords) byKeyword.set(keyword, [...(byKeyword.get(keyword) ?? []), detector])
  }
  if (families.has('pii')) {
    add(BIRTH_KEYWORDS, findBirthDate)
    add(BECH32_KEYWORDS, findBech32)
  }
  if (families.has('pii') || families.has('secret')) add(['://', ':\\/\\/'], findUrlCredentials)
  if (families.has('person')) {
    add(NAME_KEYWORDS, findName)
    add(ADDRESS_KEYWORDS, findAddress)
  }
  if (families.has('secret')) {
    for (const rule of TOKEN_RULES) add(rule.keywords, tokenDetector(rule))
    for (const rule of KEYED_RULES) add(rule.keywords, keyedDetector(rule))
    add(PASSWORD_KEYWORDS, findPassword)
    add(SECRET_KEYWORDS, findSecret)
    add(KEY_KEYWORDS, findKey)
    add(['eyj', 'ewog', 'ewok', 'eyai'], findJwt)
    add(['-----begin'], findPem)
    add(['putty-user-key-file-'], findPutty)
    add(['bearer', 'basic', 'token'], findAuthorization)
    add([' -u', '--user', '--proxy-user'], findCommandLineUser)
    add([' -p'], findPasswordOption)
    add(['kind:'], findKubernetesSecret)
    add(BASE64_KEYWORDS, findBase64)
  }
  add(ENTITY_KEYWORDS, noteEntity)
  const keywords = [...byKeyword.keys()]
  const numbers = families.has('pii') || families.has('national') || families.has('secret')
  return {
    automaton: buildAutomaton(keywords),
    lengths: Uint16Array.from(keywords, (keyword) => keyword.length),
    byKeyword: keywords.map((keyword) => byKeyword.get(keyword) ?? []),
    digit: numbers
      ? numberDetector(compileIdTable(families.has('national') ? NATIONAL_RULES : []), families)
      : undefined,
    at: families.has('pii') ? findEmail : undefined,
    colon: families.has('pii') ? findColonAddress : undefined,
  }
}
