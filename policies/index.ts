/** The gateway-neutral core: the contract of policies, the pipeline that runs them, and what they share. */

export { CODES, type Code, type CodeEntry, ConfigError, PortcullisError, RefusedRead } from './errors.ts'
export { createPipeline, type NamedInstance, type PassVerdict, type Pipeline, type Verdict } from './pipeline.ts'
export type * from './policy.ts'
export { type Reply, type ReplyContext, refusalReply } from './reply.ts'
export { createRuntime, type Runtime } from './runtime.ts'
export { openLimitStore, type StoreDeps } from './stores/open.ts'
export type * from './stores/ports.ts'
export {
  channels,
  type DecisionEvent,
  type FaultEvent,
  publish,
  type SettleEvent,
  type StoreEvent,
} from './telemetry.ts'
