/** Serves the stand-in alone: `PORT=8081 tsx test/support/model/main.ts`. */

import { startModel } from './server.ts'

const port = Number(process.env.PORT ?? '8081')
if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error('PORT must be a port number')
const model = await startModel({ port, host: process.env.HOST ?? '127.0.0.1', keep: 10 })
console.log(`model stand-in on ${model.url}`)
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => void model.close().then(() => process.exit(0)))
