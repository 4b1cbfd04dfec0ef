/** Config fields of redaction, for the policies that log content. */

import { PortcullisError } from '../errors.ts'
import type { Config, ConfigIssue } from '../schema/fields.ts'
import { defineFields } from '../schema/fields.ts'
import type { RedactOptions } from './redactor.ts'
import { createRedactor } from './redactor.ts'

export const redactionFields = defineFields({
  families: {
    type: { kind: 'list', of: { kind: 'string', oneOf: ['pii', 'national', 'secret', 'person'] }, minItems: 1 },
    default: ['pii', 'national', 'secret'],
    description: 'What is looked for; `person` adds names and street addresses, at a lower precision.',
  },
  ignore: {
    type: { kind: 'list', of: { kind: 'string', maxLength: 64 } },
    default: [],
    description: 'Labels that are left readable, such as `IP`; see the list of labels.',
  },
  custom: {
    type: {
      kind: 'list',
      maxItems: 50,
      of: {
        kind: 'record',
        fields: {
          type: {
            type: { kind: 'string', maxLength: 40, pattern: { js: '^[A-Z][A-Z0-9_]*$', lua: '^[A-Z][A-Z0-9_]*$' } },
            required: true,
            description: 'Label of the placeholder: upper-case letters, digits and underscores.',
          },
          pattern: {
            type: { kind: 'string', maxLength: 1000 },
            required: true,
            description: 'Pattern in RE2 syntax; its first group, if any, is what is masked.',
          },
        },
      },
    },
    default: [],
    description: 'Patterns of your own, run in linear time whatever they are.',
  },
  tag_key: {
    type: { kind: 'string', minLength: 16, secret: true },
    description: 'Secret of the tags in placeholders, at least 16 bytes; without it they carry no tag.',
  },
  tag_rotate_seconds: {
    type: { kind: 'integer', min: 0, max: 31_536_000 },
    default: 86_400,
    description: 'How long equal values keep equal tags, in seconds; 0 for ever.',
  },
  tag_length: {
    type: { kind: 'integer', min: 4, max: 32 },
    default: 4,
    description: 'Hex digits of a tag, 4 to 32.',
  },
})

export type RedactionConfig = Config<typeof redactionFields>

/** The options of {@link createRedactor} that a config stands for. */
export function redactionOptions(config: RedactionConfig): RedactOptions {
  return {
    families: config.families,
    ignore: config.ignore,
    custom: config.custom,
    rotateSeconds: config.tag_rotate_seconds,
    tagLength: config.tag_length,
    ...(config.tag_key === undefined ? {} : { key: config.tag_key }),
  }
}

/** What the field kinds cannot say: whether the patterns compile. Paths are relative to the config's own. */
export function checkRedaction(config: RedactionConfig): readonly ConfigIssue[] {
  const issues: ConfigIssue[] = []
  for (const [index, pattern] of config.custom.entries()) {
    try {
      createRedactor({ families: ['pii'], custom: [pattern] })
    } catch (error) {
      if (!(error instanceof PortcullisError)) throw error
      issues.push({ path: `custom[${index}].pattern`, message: 'is no RE2 pattern' })
    }
  }
  return issues
}
