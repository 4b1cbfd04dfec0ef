/** What the `keys` commands need of a place that keeps API keys, and of a place that takes new secrets. */

/**
 * `current`: in use. `staged`: valid, but nobody was surely told it yet. `retired`: replaced, and valid until its end for
 * callers that still hold it.
 */
export type VersionState = 'current' | 'staged' | 'retired'

/** One secret of a key: on Kong one key-auth credential. */
export interface KeyVersion {
  /** The backend's own name for it, never the secret. */
  readonly ref: string
  readonly state: VersionState
  /** Epoch milliseconds; absent when nobody knows. */
  readonly issuedAt?: number
  /** Epoch milliseconds from which it is no longer valid. */
  readonly expiresAt?: number
  /** What a gateway shows of it in logs and what the deny list takes. */
  readonly fingerprint?: string
  /** The secret, where the backend keeps it in clear text. A function, so that nothing prints it by accident. */
  readonly reveal?: () => string
}

export interface ManagedKey {
  /** The same through every rotation. Absent for a credential that was made by hand. */
  readonly id?: string
  /** Whom it belongs to: the name of a consumer. */
  readonly owner: string
  readonly versions: readonly KeyVersion[]
  /** The operator's own. */
  readonly tags: readonly string[]
  readonly revoked?: boolean
  /** Whether this text is a secret of it, where the backend keeps hashes only. */
  readonly recognises?: (text: string) => boolean
  /** Why it cannot be rotated here. */
  readonly fixed?: string
}

export interface StagedSecret {
  readonly id: string
  readonly owner: string
  readonly issuedAt: number
  readonly expiresAt?: number
  readonly reveal: () => string
}

export interface IssueRequest {
  readonly owner: string
  readonly tags: readonly string[]
  /** Where it may be used from. */
  readonly cidrs?: readonly string[]
  /** What it may do: grants of `llm-scope`. */
  readonly scopes?: readonly string[]
  /** Milliseconds. */
  readonly lifetimeMs?: number
}

/** A secret for this key that an output holds, with the time it was issued, in epoch milliseconds. */
export type Held = (key: {
  readonly id: string
  readonly owner: string
}) => Promise<{ readonly text: string; readonly issuedAt: number } | undefined>

/**
 * A secret is made in three steps, so that a run that is killed between any two of them loses nothing: `stage`, then it is
 * delivered, then `confirm`. The old secret is valid throughout, and ends only after `confirm`. See README.md of this folder.
 */
export interface KeyBackend {
  readonly name: string
  /** How many keys are best staged together. */
  readonly batch: number
  /** What the operator has to do until a change counts. */
  readonly afterwards?: string
  list(): Promise<readonly ManagedKey[]>
  /** A new key. @throws {PortcullisError} `unknown_consumer` */
  issue(request: IssueRequest): Promise<StagedSecret>
  /** A new secret for each. One that was staged before, or is in `held`, is taken up instead. */
  stage(keys: readonly ManagedKey[], held?: Held): Promise<readonly StagedSecret[]>
  /**
   * Every older version ends at `retireAt` (epoch milliseconds), unless it ends before.
   * @throws {PortcullisError} `rotated_meanwhile` when somebody else was faster: the secret is then not valid
   */
  confirm(staged: readonly StagedSecret[], retireAt: number): Promise<void>
  /** For good, whatever its versions. */
  revoke(key: ManagedKey, reason: string): Promise<void>
  /** Removes versions that have ended. */
  prune(removals: readonly Removal[]): Promise<void>
  close(): Promise<void>
}

export interface Removal {
  readonly key: ManagedKey
  readonly versions: readonly KeyVersion[]
}

export interface SecretOutput {
  /** What is said of it to the operator. */
  readonly name: string
  /** Whether it is the standard output. */
  readonly isStdout: boolean
  readonly held?: Held
  /** Delivering the same one again does no harm. */
  deliver(secret: StagedSecret): Promise<void>
  /** Resolves when everything that was delivered is safe there. */
  flush(): Promise<void>
  close(): Promise<void>
}

/** Makes the text of a key; with an id, another secret for it. */
export type MintKey = (id?: string) => { readonly id: string; readonly text: string }
