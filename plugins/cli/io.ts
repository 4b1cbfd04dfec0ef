/** What the command line may touch of the process: tests hand in their own. */

export interface Io {
  out(text: string): void
  err(text: string): void
  /** As `out`, and waits until the system has taken it. @throws when nobody reads any more. Absent: `out` does that. */
  deliver?(text: string): Promise<void>
  /** All of the standard input. @throws when there is more than `maxBytes`. Absent: there is none. */
  readInput?(maxBytes: number): Promise<string>
  /** Which of `out` and `err` somebody watches on a terminal. Absent: neither. */
  readonly terminals?: { readonly out: boolean; readonly err: boolean }
  readonly env: Readonly<Record<string, string | undefined>>
}

/** What a command ends with. */
export const EXIT = {
  ok: 0,
  /** It ran, and what it looked at is not as it should be. */
  findings: 1,
  /** It could not do what it was asked: wrong arguments, an unreachable store, an unreadable file. */
  failed: 2,
} as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** What a command's action must be wrapped in, so that its exit code reaches {@link run}. */
export type Finish = (code: ExitCode) => void
