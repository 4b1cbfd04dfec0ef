/** Where a command of `tokens` works. */

export { asJson, collect, type JsonOption, type Place } from '../keys/place.ts'
