/** The one recorded answer to every request. */
export const REPLY = JSON.stringify({
  id: 'chatcmpl-bench',
  object: 'chat.completion',
  created: 1_700_000_000,
  model: 'gpt-4o-mini',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hello there. '.repeat(20) }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 500, completion_tokens: 60, total_tokens: 560 },
})
