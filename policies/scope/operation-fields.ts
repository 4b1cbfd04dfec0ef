/** Config fields of routes that an operator adds to those the pack knows. */

import { PROTOCOL_IDS } from '../llm/protocols/index.ts'
import { boolean, choice, string } from '../schema/declare.ts'
import { defineFields } from '../schema/fields.ts'
import { OPERATIONS } from './grants.ts'

export const operationFields = defineFields({
  method: {
    type: choice('GET', 'POST', 'PUT', 'PATCH', 'DELETE'),
    description: 'HTTP method of the operation; a HEAD counts as GET.',
    default: 'POST',
  },
  path: {
    type: string({ maxLength: 1024, pattern: { js: '^/[^\\s?#]*$', lua: '^/[^%s?#]*$' } }),
    description:
      'Exact path that the upstream sees; `{name}` stands for one segment, `{model}` for one that names the model.',
    required: true,
  },
  operation: {
    type: choice(...OPERATIONS),
    description: 'Which grant it needs, in the words of the built-in operations.',
    required: true,
  },
  protocol: {
    type: choice(...PROTOCOL_IDS),
    description: 'Id of the protocol whose body names the model. Unset: the field `model`, if there is a body.',
  },
  read: {
    type: boolean(),
    description: 'Whether it has no side effects, so that a `:read` grant is enough. Unset: true for GET.',
  },
})
