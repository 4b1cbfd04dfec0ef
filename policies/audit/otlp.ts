/** Records as OTLP log records in the protocol's JSON encoding (opentelemetry-proto 1.x, `ExportLogsServiceRequest`). */

type AnyValue =
  | { readonly stringValue: string }
  | { readonly boolValue: boolean }
  | { readonly intValue: string }
  | { readonly doubleValue: number }
  | { readonly arrayValue: { readonly values: readonly AnyValue[] } }
  | { readonly kvlistValue: { readonly values: readonly KeyValue[] } }

interface KeyValue {
  readonly key: string
  readonly value: AnyValue
}

const SEVERITY = { INFO: 9, WARN: 13 } as const

/** @param lines records as JSON text */
export function otlpLogs(lines: readonly string[]): object {
  return {
    resourceLogs: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'portcullis' } }] },
        scopeLogs: [{ scope: { name: 'portcullis.audit' }, logRecords: lines.map(logRecord) }],
      },
    ],
  }
}

function logRecord(line: string): object {
  const { time, ...rest } = JSON.parse(line) as Readonly<Record<string, unknown>> & { readonly time: string }
  const severity = rest['error.type'] === undefined ? 'INFO' : 'WARN'
  return {
    timeUnixNano: `${Date.parse(time)}000000`,
    severityNumber: SEVERITY[severity],
    severityText: severity,
    eventName: 'portcullis.audit',
    attributes: keyValues(rest),
  }
}

function keyValues(record: object): KeyValue[] {
  return Object.entries(record).map(([key, value]) => ({ key, value: anyValue(value) }))
}

function anyValue(value: unknown): AnyValue {
  if (typeof value === 'boolean') return { boolValue: value }
  if (typeof value === 'number') return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value }
  if (Array.isArray(value)) return { arrayValue: { values: value.map(anyValue) } }
  if (typeof value === 'object' && value !== null) return { kvlistValue: { values: keyValues(value) } }
  return { stringValue: String(value) }
}
