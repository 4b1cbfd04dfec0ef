import { isObject } from './json.ts'

/** Every string under one of `textKeys`, at any depth outside `skipKeys`: what the byte scan of a tap counts. */
export function eventText(event: unknown, textKeys: readonly string[], skipKeys: readonly string[]): string {
  if (Array.isArray(event)) return event.map((item) => eventText(item, textKeys, skipKeys)).join('')
  if (!isObject(event)) return ''
  return Object.entries(event)
    .map(([key, value]) => {
      if (skipKeys.includes(key)) return ''
      if (typeof value === 'string') return textKeys.includes(key) ? value : ''
      return eventText(value, textKeys, skipKeys)
    })
    .join('')
}
