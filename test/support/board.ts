/** The Grafana board and the alerts, as far as tests look into them. */

import { parse } from 'yaml'
import { readText } from './sources.ts'

export const FOLDER = 'kong/observability'

export interface BoardQuery {
  readonly panel: string
  readonly expression: string
  /** What a series is called: text with `{{label}}`. */
  readonly legend: string
}

interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly datasource?: { readonly type: string; readonly uid: string }
  readonly targets?: readonly { readonly refId: string; readonly expr: string; readonly legendFormat: string }[]
}

export interface Board {
  readonly uid: string
  readonly panels: readonly Panel[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] }
  readonly annotations: { readonly list: readonly { readonly expr: string; readonly titleFormat: string }[] }
}

export interface Alert {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

export const board = JSON.parse(readText(`${FOLDER}/grafana/dashboards/portcullis.json`)) as Board

export const boardQueries: readonly BoardQuery[] = [
  ...board.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat }) => ({ panel: title, expression: expr, legend: legendFormat })),
  ),
  ...board.annotations.list.map(({ expr, titleFormat }) => ({
    panel: 'annotation',
    expression: expr,
    legend: titleFormat,
  })),
]

export const alerts: readonly Alert[] = (
  parse(readText(`${FOLDER}/alerts.yml`)) as { readonly groups: readonly { readonly rules: readonly Alert[] }[] }
).groups.flatMap(({ rules }) => rules)
