/** A group of metrics. */
export interface Measured {
  /** Brings up to date what no event tells of; before every reading. */
  collect(): void
  /** Stops listening to telemetry. */
  close(): void
}

/** Seconds: an RPC step takes tens of microseconds, a decision with Redis a millisecond. */
export const SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.5]
