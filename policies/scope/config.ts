/** The config of `llm-scope`: the one declaration, and the combinations that make no sense. */

import { checkRevocation, revocationFields } from '../revocation/fields.ts'
import { choice, integer, list, map, record, string } from '../schema/declare.ts'
import { type Config, type ConfigIssue, defineFields } from '../schema/fields.ts'
import { parseGrant } from './grants.ts'
import { checkJwt, jwtFields } from './jwt/fields.ts'
import { operationFields } from './operation-fields.ts'
import { SOURCES } from './sources.ts'

const grantList = list(string({ maxLength: 300 }), { maxItems: 256 })

export const fields = defineFields({
  sources: {
    type: list(choice(...SOURCES), { minItems: 1, maxItems: 5 }),
    description:
      'Where grants come from; the first source that knows the caller decides. `jwt`: verified claims. `credential`: scopes or tags of the credential. `consumer`: tags of the consumer. `static`, `groups`: the maps of this config.',
    default: ['jwt', 'credential', 'consumer', 'static', 'groups'],
  },
  jwt: {
    type: record(jwtFields),
    description: 'Which tokens are trusted. Unset: only claims that the gateway itself verified.',
  },
  aliases: {
    type: map(grantList),
    description: 'Grants by a name of your own, which a scope, a tag or another list may then use.',
    default: {},
  },
  static: {
    type: map(grantList),
    description: 'Grants by id, user name or custom id of a consumer, or by id of a credential.',
    default: {},
  },
  groups: {
    type: map(grantList),
    description: "Grants by ACL group, as the gateway itself knows them: never from a client's header.",
    default: {},
  },
  operations: {
    type: list(record(operationFields), { maxItems: 256 }),
    description: 'Further operations, where an API hangs at a path that the pack does not know.',
    default: [],
  },
  unmatched: {
    type: choice('deny'),
    description: 'What becomes of a method and path that no rule recognises: refused with 403, whatever was granted.',
    default: 'deny',
  },
  mode: {
    type: choice('enforce', 'shadow'),
    description: '`shadow`: decide and audit, but refuse nothing.',
    default: 'enforce',
  },
  max_body_bytes: {
    type: integer({ min: 1024, max: 67_108_864 }),
    description:
      'Largest request body in bytes that is read for its model; a larger one is refused with 413. A caller whose grant names no model may send more.',
    default: 1_048_576,
  },
  realm: {
    type: string({ maxLength: 64, pattern: { js: '^[A-Za-z0-9 ._-]+$', lua: '^[%w ._-]+$' } }),
    description: 'Realm in the header `WWW-Authenticate` of refusals.',
    default: 'llm',
  },
  revocation: {
    type: record(revocationFields),
    description: 'The deny list of tokens, subjects, credentials and consumers. Unset: none.',
  },
})

export type ScopeConfig = Config<typeof fields>

/** What the field kinds cannot say. */
export function check(config: ScopeConfig): readonly ConfigIssue[] {
  const issues: ConfigIssue[] = []
  for (const [index, source] of config.sources.entries())
    if (config.sources.indexOf(source) !== index) issues.push({ path: `sources[${index}]`, message: 'is there twice' })
  if (config.jwt !== undefined && !config.sources.includes('jwt'))
    issues.push({ path: 'jwt', message: 'needs `jwt` among the sources' })
  const named = new Set(Object.keys(config.aliases))
  for (const name of named)
    if (!/^[\x21\x23-\x5b\x5d-\x7e]+$/.test(name) || parseGrant(name) !== undefined)
      issues.push({ path: `aliases.${name}`, message: 'must be a name without spaces or quotes, and no grant itself' })
  checkGrants(config.aliases, 'aliases', new Set(), issues)
  checkGrants(config.static, 'static', named, issues)
  checkGrants(config.groups, 'groups', named, issues)
  if (config.jwt !== undefined) issues.push(...checkJwt(config.jwt, 'jwt'))
  if (config.revocation !== undefined) issues.push(...checkRevocation(config.revocation, 'revocation'))
  return issues
}

function checkGrants(
  lists: Readonly<Record<string, readonly string[]>>,
  path: string,
  aliases: ReadonlySet<string>,
  issues: ConfigIssue[],
): void {
  for (const [name, grants] of Object.entries(lists)) {
    for (const [index, grant] of grants.entries())
      if (!aliases.has(grant) && parseGrant(grant) === undefined)
        issues.push({ path: `${path}.${name}[${index}]`, message: 'is neither a grant nor an alias' })
  }
}
