/** An upstream that costs next to nothing: one recorded answer for every request, as its own process. */

import { createServer } from 'node:http'

const REPLY = Buffer.from(
  JSON.stringify({
    id: 'chatcmpl-bench',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: 'gpt-4o-mini',
    choices: [{ index: 0, message: { role: 'assistant', content: 'Hello there. '.repeat(20) }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 500, completion_tokens: 60, total_tokens: 560 },
  }),
)

const server = createServer((request, response) => {
  request.resume()
  request.on('end', () => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': REPLY.length })
    response.end(REPLY)
  })
})
server.keepAliveTimeout = 600_000
server.listen(Number(process.argv[2]), '127.0.0.1', () => process.send?.('listening'))
process.on('disconnect', () => process.exit(0))
