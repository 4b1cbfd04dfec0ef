/**
 * Lets policies meet exceptions that quote the whole request. In a body, `explode` says when that happens: in which reading
 * of it (1: the first, and so on), or in which function (`readOverrides` is one of llm-token-limit, `redactBody` is where
 * content is redacted), or `later`: outside of every policy.
 */

const SOURCE = `
const parse = JSON.parse
const readings = new Map()
JSON.parse = (text, ...more) => {
  const value = parse(text, ...more)
  const when = value?.explode
  if (when === undefined) return value
  if (when === 'later') {
    Promise.reject(new Error(text))
    setTimeout(() => { throw new TypeError(text) }, 50)
    return value
  }
  if (typeof when === 'string') {
    const { messages } = value
    Object.defineProperty(value, 'messages', { enumerable: true, get() {
      if (new Error().stack.includes(when)) throw new RangeError(text)
      return messages
    } })
    return value
  }
  const count = (readings.get(text) ?? 0) + 1
  readings.set(text, count)
  if (count === when)
    Object.defineProperty(value, 'messages', { enumerable: true, get() { throw new RangeError(text) } })
  return value
}
`

/** To be imported into the process. Every byte is escaped, so that it can pass through a shell. */
export const EXPLOSIVES = `data:text/javascript,${Buffer.from(SOURCE).toString('hex').replace(/../g, '%$&')}`
