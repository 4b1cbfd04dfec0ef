/** Findings as SARIF 2.1.0, which code hosts show beside the lines (OASIS sarif-schema-2.1.0). */

import { createHash } from 'node:crypto'
import { VERSION } from '../../version.ts'
import type { Gap } from './gaps.ts'
import type { Outcome } from './report.ts'
import type { Finding, Rule } from './rule.ts'

export function asSarif({ findings, gaps }: Outcome, rules: readonly Rule[]): string {
  const log = {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: { name: 'portcullis check', version: VERSION, semanticVersion: VERSION, rules: rules.map(describe) },
        },
        invocations: [{ executionSuccessful: true, toolConfigurationNotifications: gaps.flatMap(notificationsOf) }],
        columnKind: 'utf16CodeUnits',
        results: findings.map((finding) => resultOf(finding, rules)),
      },
    ],
  }
  return `${JSON.stringify(log, undefined, 2)}\n`
}

function notificationsOf({ rules, why, fix }: Gap): readonly object[] {
  return rules.map(({ id }) => ({
    level: 'warning',
    message: { text: `Not judged: ${id}. Why: ${why}. ${fix}` },
    associatedRule: { id },
  }))
}

function describe({ id, title, why, fix, severity }: Rule): object {
  return {
    id,
    shortDescription: { text: `${title}.` },
    fullDescription: { text: why },
    help: { text: fix },
    defaultConfiguration: { level: severity },
  }
}

function resultOf({ rule, place, what, acknowledged }: Finding, rules: readonly Rule[]): object {
  return {
    ruleId: rule.id,
    ruleIndex: rules.indexOf(rule),
    level: rule.severity,
    message: { text: `${what}. ${rule.fix}` },
    locations: [
      {
        physicalLocation: {
          artifactLocation: { uri: uriOf(place.file) },
          ...(place.line === undefined ? {} : { region: { startLine: place.line } }),
        },
      },
    ],
    // The same finding after lines moved.
    partialFingerprints: {
      'finding/v1': createHash('sha256')
        .update(JSON.stringify([rule.id, place.file, what]))
        .digest('hex')
        .slice(0, 32),
    },
    ...(acknowledged ? { suppressions: [{ kind: 'inSource', justification: 'acknowledged by a tag' }] } : {}),
  }
}

function uriOf(file: string): string {
  if (/^https?:\/\//.test(file)) return file
  return encodeURI(file.replaceAll('\\', '/')).replaceAll('?', '%3F').replaceAll('#', '%23')
}
