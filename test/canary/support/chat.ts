/** A chat request with a canary in every place that the API has for text. */

import type { Canaries } from './canaries.ts'

export function chat(plant: Canaries['plant']): Readonly<Record<string, unknown>> {
  return {
    model: plant('model'),
    max_tokens: 10,
    user: plant('user'),
    metadata: { [plant('metadata name')]: plant('metadata value') },
    messages: [
      { role: 'system', content: plant('system prompt') },
      {
        role: 'user',
        name: plant('name'),
        content: [{ type: 'text', text: `Say ${plant('prompt')} twice for TICKET-4711` }],
      },
      {
        role: 'assistant',
        tool_calls: [
          {
            id: plant('tool call id'),
            type: 'function',
            function: { name: 'f', arguments: JSON.stringify({ a: plant('tool arguments') }) },
          },
        ],
      },
      { role: 'tool', tool_call_id: 'x', content: plant('tool result') },
    ],
    tools: [{ type: 'function', function: { name: plant('tool name'), description: plant('tool description') } }],
    stop: [plant('stop word')],
  }
}
