/** `npm start`: the pack at work, with nothing installed but Node. `-- --once` leaves after the tour. */

import { hear } from './events.ts'
import { CannotStart, type House, openHouse } from './house.ts'
import { createScreen, number, type Screen } from './screen.ts'
import { TIERS } from './tiers.ts'
import { takeTour } from './tour.ts'

const USAGE = 'Usage: npm start [-- --once]   (PORT chooses the port, 8080 by default)'

// Express Gateway's own dependencies use old APIs of Node; nobody here can help it.
process.noDeprecation = true

const colours = process.stdout.isTTY === true && process.env.NO_COLOR === undefined
const screen = createScreen((text) => void process.stdout.write(text), colours)
process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  if (!(error instanceof CannotStart)) throw error
  console.error(error.message)
  return 1
})

async function main(options: readonly string[]): Promise<number> {
  const unknown = options.filter((option) => option !== '--once')
  if (unknown.length > 0) throw new CannotStart(`Unknown option ${unknown[0]}\n${USAGE}`)
  const house = await openHouse(portOf(process.env.PORT), (line) => console.error(line))
  const heard = hear()
  introduce(screen, house)
  const onInterrupt = (): void => void house.stop().then(() => process.exit(130))
  process.once('SIGINT', onInterrupt)
  process.once('SIGTERM', onInterrupt)
  await takeTour({ house, heard, screen })
  const kept = screen.checks - screen.failures
  screen.heading(`${kept} of ${screen.checks} checks hold${screen.failures === 0 ? '.' : ': something is wrong.'}`)
  if (options.includes('--once')) {
    await house.stop()
    return screen.failures === 0 ? 0 : 1
  }
  process.off('SIGINT', onInterrupt)
  process.off('SIGTERM', onInterrupt)
  screen.line(`Serving on ${house.baseUrl} until Ctrl-C. Try the curl lines above.`)
  await new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
  })
  await house.stop()
  return 0
}

function portOf(text: string | undefined): number {
  if (text === undefined || text === '') return 8080
  const port = Number(text)
  if (!/^\d+$/.test(text) || port > 65_535)
    throw new CannotStart(`PORT must be a port number, not ${JSON.stringify(text)}`)
  return port
}

function introduce({ heading, fact, line }: Screen, { baseUrl, keys }: House): void {
  heading('Portcullis on Express Gateway, in front of a local model stand-in')
  fact('base URL', `${baseUrl}   (OpenAI clients: ${baseUrl}/v1)`)
  for (const { name, limit, window } of TIERS)
    fact(name, `${`${number(limit)} tokens ${window}`.padEnd(24)} key ${keys[name]}`)
  heading('Try it from another terminal')
  for (const command of curlLines(baseUrl, keys)) line(command)
}

function curlLines(baseUrl: string, keys: House['keys']): string[] {
  const messages = '"messages":[{"role":"user","content":"Hello"}]'
  const json = `-H 'content-type: application/json'`
  return [
    `curl -i ${baseUrl}/v1/chat/completions ${json} -H 'authorization: Bearer ${keys.gold}' -d '{"model":"gpt-4o-mini","max_tokens":100,${messages}}'`,
    `curl -N ${baseUrl}/v1/chat/completions ${json} -H 'authorization: Bearer ${keys.gold}' -H 'x-model-pace: 50' -d '{"model":"gpt-4o-mini","max_tokens":100,"stream":true,${messages}}'`,
    `curl -i ${baseUrl}/v1/messages ${json} -H 'x-api-key: ${keys.free}' -H 'anthropic-version: 2023-06-01' -d '{"model":"claude-sonnet-4-6","max_tokens":3000,${messages}}'`,
  ]
}
