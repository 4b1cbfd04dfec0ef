/** Keys as an operator reads them. Nothing here shows a secret. */

import { DAY_MS } from '../../../policies/api-key/lifecycle.ts'
import { columns } from '../print.ts'
import { FINDINGS, type Finding } from './audit.ts'
import type { KeyVersion, ManagedKey } from './ports.ts'

export function asKeyTable(keys: readonly ManagedKey[], now: number): string {
  const rows = keys.flatMap((key) =>
    key.versions.map((version, index) => [
      index === 0 ? (key.id ?? '-') : '',
      index === 0 ? key.owner : '',
      key.revoked === true ? 'revoked' : version.state,
      version.issuedAt === undefined ? 'unknown' : day(version.issuedAt),
      version.issuedAt === undefined ? '-' : `${Math.floor((now - version.issuedAt) / DAY_MS)}d`,
      version.expiresAt === undefined ? '-' : day(version.expiresAt),
      version.fingerprint?.slice(0, 12) ?? '-',
    ]),
  )
  return columns([['ID', 'CONSUMER', 'STATE', 'ISSUED', 'AGE', 'ENDS', 'FINGERPRINT'], ...rows])
}

export function asFindingTable(findings: readonly Finding[]): string {
  const rows = findings.map(({ code, key, version }) => [
    FINDINGS[code].level,
    code,
    key.id ?? '-',
    key.owner,
    version?.fingerprint?.slice(0, 12) ?? '-',
    FINDINGS[code].meaning,
  ])
  return columns([['LEVEL', 'FINDING', 'ID', 'CONSUMER', 'FINGERPRINT', 'MEANING'], ...rows])
}

export function keyData(key: ManagedKey, now: number) {
  return {
    ...nameData(key),
    ...(key.revoked === true ? { revoked: true } : {}),
    tags: key.tags,
    versions: key.versions.map((version) => versionData(version, now)),
  }
}

export function nameData({ id, owner }: Pick<ManagedKey, 'id' | 'owner'>) {
  return { id: id ?? null, consumer: owner }
}

export function versionData({ state, issuedAt, expiresAt, fingerprint }: KeyVersion, now: number) {
  return {
    state,
    issued_at: issuedAt === undefined ? null : new Date(issuedAt).toISOString(),
    age_days: issuedAt === undefined ? null : Math.floor((now - issuedAt) / DAY_MS),
    expires_at: expiresAt === undefined ? null : new Date(expiresAt).toISOString(),
    fingerprint: fingerprint ?? null,
  }
}

export function findingData({ code, key, version }: Finding, now: number) {
  return {
    level: FINDINGS[code].level,
    finding: code,
    meaning: FINDINGS[code].meaning,
    ...nameData(key),
    ...(version === undefined ? {} : { version: versionData(version, now) }),
  }
}

function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10)
}
