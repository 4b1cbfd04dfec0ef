/** Config fields of routes that an operator adds to those the pack knows. */

import { PROTOCOL_IDS } from '../llm/protocols/index.ts'
import { choice, string } from '../schema/declare.ts'
import { defineFields } from '../schema/fields.ts'

export const operationFields = defineFields({
  method: { type: choice('POST', 'PUT', 'PATCH'), description: 'HTTP method of the operation.', default: 'POST' },
  path: {
    type: string({ maxLength: 1024, pattern: { js: '^/[^\\s?#]*$', lua: '^/[^%s?#]*$' } }),
    description:
      'Exact path that the upstream sees; `{name}` stands for one segment, `{model}` for one that names the model.',
    required: true,
  },
  operation: {
    type: choice('chat', 'responses', 'embeddings'),
    description: 'What the operation does, in the words of the built-in ones.',
    default: 'chat',
  },
  protocol: {
    type: choice(...PROTOCOL_IDS),
    description: 'Id of the protocol whose request and reply shapes the operation has.',
    required: true,
  },
})
