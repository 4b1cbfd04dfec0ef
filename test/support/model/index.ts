export type { Knobs, UsageMode } from './knobs.ts'
export { type Model, type ModelOptions, type Received, startModel } from './server.ts'
