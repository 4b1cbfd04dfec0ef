/** Passwords and keys assigned to telling names. */

import { PRIORITY } from '../finding.ts'
import type { KeywordDetector, Scan } from '../scan.ts'
import { isLetter, isWord } from '../text.ts'
import type { Assignment } from './assignment.ts'
import { assignmentAt } from './assignment.ts'
import { entropy, isPlaceholder, isSequence, isWordy, wordiness } from './placeholders.ts'

/** How much a name says about its value. */
type Strength = 'password' | 'secret' | 'key'

const PASSWORD_WORDS =
  /^(?:pass(?:word|wd|phrase|code|wort)?s?|pwd|secrets?|token|user(?:name)?|login|e?mail|text|hidden|submit|invalid|missing|required|forgot|reset|confirm|new|old|current|change|incorrect|wrong|show|hide|enter|error|type|field|name|value|key|bearer|basic|oauth2?|jwt|auth|none|default|prompt|input|label|strong|weak|validate|check|hash|bcrypt|argon2|scrypt|pbkdf2|sha\d*|md5|plain|utf-?8|ascii|hex|base64|contrase[nñ]a|motdepasse|kennwort|passwort)$/i

function isReference(value: string): boolean {
  return (
    /^[A-Za-z_$][\w$]*(?:(?:\.|->|::)[A-Za-z_$][\w$]*)+$/.test(value) ||
    /^[\w.$>-]*[([]/.test(value) ||
    /^(?:\.{0,2}\/|[a-z]+:\/\/|~\/|[A-Z]:\\|process\.|os\.|env\.|this\.|self\.|@|&|!|%\w+%$|#\{|arn:|urn:)/.test(
      value,
    ) ||
    /\.(?:pem|key|crt|cer|p12|json|ya?ml|txt|[jt]sx?|html?|php|py|rb|go|env|conf|md)$/i.test(value)
  )
}

export function isHash(value: string): boolean {
  return /^(?:sha\d{1,3}|md5)[-:=]/i.test(value) || /^(?:[a-f0-9]{40}|[a-f0-9]{64}|[a-f0-9]{32})$/i.test(value)
}

export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

function looksRandom(value: string, least: number): boolean {
  const digits = value.replace(/[^0-9]/g, '').length
  const letters = value.replace(/[^A-Za-z]/g, '').length
  if (letters === 0 && digits < 20) return false
  if (digits === 0)
    return (
      letters >= 16 && /[a-z]/.test(value) && /[A-Z]/.test(value) && wordiness(value) < 0.45 && entropy(value) >= 3.5
    )
  return entropy(value) >= least && !isWordy(value, 0.6)
}

function isPassword(value: string, assigned: Assignment): boolean {
  if (value.length < 4 || value.length > 128 || PASSWORD_WORDS.test(value)) return false
  const hasDigit = /\d/.test(value)
  const symbols = value.replace(/[\w\s.\-:/]/g, '').length
  if (assigned.quoted) {
    if (/\s/.test(value)) return hasDigit && symbols > 0 && value.length <= 64 && wordiness(value) < 0.5
    if (assigned.operator === '(' || assigned.operator === ',')
      return (hasDigit || symbols > 1) && wordiness(value) < 0.75 && value.length >= 6
    if (hasDigit || symbols > 0)
      return !/^[A-Za-z]+[_-][A-Za-z]+\d?$/.test(value) && !/^<|>$|<\/?[a-z]+>|^#[\w-]+$|^\.[\w-]+$|[?*]$/.test(value)
    // One plain word, assigned to nothing but the word for a password.
    if (/^[a-z]{6,24}$/.test(value) && assigned.suffix === '' && /^(?::?=|:)$/.test(assigned.operator)) return true
    return (
      /^[A-Za-z]{6,40}$/.test(value) &&
      (wordiness(value) < 0.5 || (/[a-z]/.test(value) && /^[A-Z]{2}|[a-z][A-Z]/.test(value) && wordiness(value) < 0.7))
    )
  }
  if (value.length < 6 || !(hasDigit || symbols > 1)) return false
  if (/^\d+(?:\.\d+)*[a-z]?$/.test(value) || /[()[\]{}]/.test(value)) return false
  const identifier = /^[A-Za-z_$][\w$]*$/.test(value)
  if (identifier && assigned.spaced) return wordiness(value) < 0.5 && value.length >= 8
  if (identifier) return value.length >= 6 && entropy(value) >= 2.2
  return !(assigned.operator === '(' || assigned.operator === ',' || assigned.operator === '|')
}

/** Names that say more than `token` does: their value is a secret even when it is a word. */
const NAMED = /^(?:secret|.{2,12}key)$/i

function isNamedSecret(value: string, assigned: Assignment): boolean {
  if (!assigned.quoted || PASSWORD_WORDS.test(value) || /\s/.test(value)) return false
  if (/^[a-z]{8,24}$/.test(value)) return assigned.suffix === '' && /^(?::?=|:)$/.test(assigned.operator)
  return (value.match(/[^\w\s.\-:/,|\\^*]/g)?.length ?? 0) >= 5 && value.length >= 12
}

function isSecret(value: string, assigned: Assignment): boolean {
  if (value.length < 8 || /\s/.test(value)) return false
  if (UUID.test(value)) return true
  if (isHash(value)) return !/^sha|^md5/i.test(value)
  if (!assigned.quoted && (assigned.operator === ',' || assigned.operator === '(' || assigned.operator === '|'))
    return false
  if (value.length < 12)
    return /\d/.test(value) && /[A-Za-z]/.test(value) && entropy(value) >= 2.5 && wordiness(value) < 0.45
  return looksRandom(value, 2.9)
}

function isKey(value: string, assigned: Assignment): boolean {
  if (value.length < 16 || /[\s<>(){}]/.test(value) || isHash(value) || UUID.test(value)) return false
  if (!assigned.quoted && assigned.operator !== '=' && assigned.operator !== ':') return false
  if (/^[\d.,:/-]+$/.test(value) || !/\d/.test(value)) return false
  if (/[-_.]/.test(value) && value.split(/[-_.]/).filter((part) => part.length >= 2 && !/\d/.test(part)).length >= 2)
    return false
  return entropy(value) >= 3.4 && !isWordy(value, 0.45)
}

/** Names that hold a telling word but no secret. */
const OTHER_NAME =
  /^(?:_?(?:ize[rd]?|s?[-_ ]?(?:count|length|limit|size|type|name|id|url|uri|endpoint|path|file|field|format|policy|expir|ttl|kind|index|stream|list|map|set|class|store|ring|code|board|word|frame|press|down|up|event|alias|pair|usage|label|hint|placeholder|reset|prompt|version|algorithm|alg|curve|prefix|suffix|regex|pattern|len|max|min|s?\b.?provider)))/i
const NAME_BEFORE =
  /(?:public|public[-_ ]?key|primary|foreign|sort|partition|cache|csrf|xsrf|next|page|continuation|cursor|hot|mon|tur|don|translation|i18n|object|map|index|group|react|query|row|col|lang|short|arrow|storage|local|unique|composite)[-_. ]?$/i

/** Names whose last word says that the value is something about a secret. */
const OTHER_END = /(?:type|name|url|uri|path|file|length|count|size|format|expiry|expires|version)$/i

function tellingName(strength: Strength, text: string, start: number, assigned: Assignment): boolean {
  if (OTHER_NAME.test(assigned.suffix) || OTHER_END.test(assigned.suffix)) return false
  if (strength === 'key' || strength === 'secret') {
    if (NAME_BEFORE.test(text.slice(Math.max(0, start - 14), start))) return false
  }
  // Prose such as "the password is: see below" has words between.
  return assigned.suffix.split(/\s+/).length <= 3
}

function judge(scan: Scan, strength: Strength, start: number, keywordEnd: number, assigned: Assignment): void {
  const { text } = scan
  let { end } = assigned
  if (!assigned.quoted) {
    // `[badge](https://host?token=x)](link)`: brackets close around a value, they do not belong to it.
    const bracket = strength === 'password' ? -1 : text.slice(assigned.start, end).search(/[)\]]/)
    if (bracket > 0) end = assigned.start + bracket
    while (end > assigned.start && /[.)\]]/.test(text[end - 1] ?? '')) end--
  }
  const value = text.slice(assigned.start, end)
  if (value.length < 4 || isPlaceholder(value) || isSequence(value)) return
  if (!tellingName(strength, text, start, assigned)) return
  if (
    isReference(value) &&
    !(strength === 'password' && assigned.quoted && !/^[a-z]+:\/\/|^\.{0,2}\/|[([]/.test(value))
  ) {
    if (!(assigned.quoted && strength === 'password' && /[^\w\s.]{3}/.test(value) && /\d/.test(value))) return
  }
  const named = strength === 'secret' && NAMED.test(text.slice(start, keywordEnd))
  if ((strength === 'password' || named) && !assigned.quoted && wholeLine(scan, start, assigned)) return
  const found =
    strength === 'password'
      ? isPassword(value, assigned)
      : strength === 'secret'
        ? isSecret(value, assigned) || (named && isNamedSecret(value, assigned))
        : isKey(value, assigned)
  if (found)
    scan.candidates.push({
      type: strength === 'password' ? 'PASSWORD' : 'SECRET',
      start: assigned.start,
      end,
      priority: PRIORITY.assigned,
    })
}

/** `password: a<b>{c}#d` of a configuration file: everything to the end of the line, punctuation included. */
function wholeLine(scan: Scan, start: number, assigned: Assignment): boolean {
  const { text } = scan
  if (assigned.operator !== ':' && assigned.operator !== '=') return false
  const before = text.slice(Math.max(0, start - 64), start)
  if ((before.length === 64 && !before.includes('\n')) || !/(?:^|\n)[ \t]*[\w.-]*$/.test(before)) return false
  const run = /[^\s"'`]{8,80}(?=\r?\n|$)/y
  run.lastIndex = assigned.start
  const value = run.exec(text)?.[0] ?? ''
  if (value.length <= assigned.end - assigned.start || isReference(value) || isPlaceholder(value)) return false
  if ((value.match(/[^\w\s,;]/g)?.length ?? 0) < 3 || /[,;(]$|=>|&&|\|\||\(\)/.test(value)) return false
  scan.candidates.push({
    type: 'PASSWORD',
    start: assigned.start,
    end: assigned.start + value.length,
    priority: PRIORITY.assigned,
  })
  return true
}

/** Keywords that begin longer words of other meanings: `passport`, `keyboard`, `author`. */
const SHORT_WORDS = new Set([
  'pass',
  '_pass',
  'db_pass',
  'dbpass',
  'userpass',
  'key',
  'auth',
  'access',
  'api',
  'sess',
  'salt',
  'jwt',
  'cookie',
  'token',
  'secret',
])

function assignedTo(strength: Strength): KeywordDetector {
  return (scan, start, end) => {
    const { text } = scan
    // `monkey`, `author`: a short keyword inside a longer word of the same case says nothing.
    if (end - start <= 5 && start > 0 && isLetter(text.charCodeAt(start - 1))) {
      const before = text.charCodeAt(start - 1)
      const first = text.charCodeAt(start)
      const camel = before >= 97 && first <= 90
      if (!camel && !(before <= 90 && first <= 90 && strength === 'password')) return
    }
    const following = text.charCodeAt(end)
    const last = text.charCodeAt(end - 1)
    if (end - start <= 9 && following >= 97 && following <= 122 && following !== 115 && last >= 97) {
      if (SHORT_WORDS.has(text.slice(start, end).toLowerCase())) return
    }
    const assigned = assignmentAt(text, end)
    if (assigned !== undefined) judge(scan, strength, start, end, assigned)
    if (strength === 'password' || (strength === 'secret' && NAMED.test(text.slice(start, end))))
      comparedBefore(scan, start)
    if (strength === 'password' && assigned === undefined) afterLogin(scan, start, end)
  }
}

const LOGIN = /\b(?:login|user|account)[ \t]{1,4}\S{1,100}\s{1,4}$/

/** `login bob password x` of a netrc file. */
function afterLogin(scan: Scan, start: number, end: number): void {
  if (!LOGIN.test(scan.text.slice(Math.max(0, start - 120), start))) return
  maskOption(scan, end, /[ \t]{1,4}([^\s"'<>]{4,128})/y)
}

/** `sshpass -p x`, `docker login -u bob -p x`. */
export const findPasswordOption: KeywordDetector = (scan, start, end) => {
  const lead = scan.text.slice(Math.max(0, start - 90), start)
  if (!/(?:sshpass|docker login|podman login|mysql|psql)\b[^\n|;]{0,80}$/.test(lead)) return
  maskOption(scan, end, /[ =]?["']?([^\s"'<>$]{6,128})/y)
}

function maskOption(scan: Scan, end: number, pattern: RegExp): void {
  pattern.lastIndex = end
  const value = pattern.exec(scan.text)?.[1]
  if (value === undefined || isPlaceholder(value) || !/\d/.test(value) || /^\d+$/.test(value)) return
  const last = pattern.lastIndex
  scan.candidates.push({ type: 'PASSWORD', start: last - value.length, end: last, priority: PRIORITY.assigned })
}

/** `"value" == password`: the value stands before the name. */
function comparedBefore(scan: Scan, start: number): void {
  const { text } = scan
  let at = start - 1
  while (at > 0 && start - at < 40 && (isWord(text.charCodeAt(at)) || text[at] === '.' || text[at] === '$')) at--
  if (!isSpaceOrOperator(text[at])) return
  const lead = text.slice(Math.max(0, at - 140), at + 1)
  const match = /(["'])([^"'\s]{4,120})\1\s{0,3}[!=]==?\s{0,3}$/.exec(lead)
  if (match === null) return
  const value = match[2] ?? ''
  const first = at + 1 - lead.length + match.index + 1
  if (isPlaceholder(value) || isReference(value)) return
  const assigned: Assignment = {
    suffix: '',
    operator: '==',
    start: first,
    end: first + value.length,
    quoted: true,
    spaced: true,
  }
  if (isPassword(value, assigned))
    scan.candidates.push({ type: 'PASSWORD', start: first, end: first + value.length, priority: PRIORITY.assigned })
}

function isSpaceOrOperator(character: string | undefined): boolean {
  return character === ' ' || character === '='
}

export const PASSWORD_KEYWORDS = [
  'password',
  'passwd',
  'passphrase',
  'passwort',
  'kennwort',
  'contrasena',
  'mot de passe',
  'motdepasse',
  'wachtwoord',
  'haslo',
  'senha',
  'losenord',
  'parola',
  'pwd',
  'passcode',
  'db_pass',
  'dbpass',
  '_pass',
  'userpass',
  'key_pass',
  'keypass',
  'pass',
] as const
export const SECRET_KEYWORDS = [
  'secret',
  'token',
  'api_key',
  'apikey',
  'api-key',
  'api key',
  'access_key',
  'accesskey',
  'access-key',
  'auth_key',
  'authkey',
  'private_key',
  'privatekey',
  'encryption_key',
  'signing_key',
  'service_key',
  'servicekey',
  'account_key',
  'accountkey',
  'client_key',
  'db_key',
  'database_key',
  'priv_key',
  'privkey',
  'credential',
  'creds',
  'master_key',
  'app_key',
  'appkey',
  'x-api-key',
  'session_id',
  'sessionid',
  'cookie',
  'authorization',
  'bearer',
  'connectionstring',
  'signature',
  'jwt',
  'ssh_key',
  'license_key',
  'webhook',
  'salt',
] as const
export const KEY_KEYWORDS = ['key', 'auth', 'access', 'api', 'sess'] as const

export const findPassword = assignedTo('password')
export const findSecret = assignedTo('secret')
export const findKey = assignedTo('key')
