/** A figure from outside as a counter can take it: what is no positive number counts nothing. */
export function amount(figure: number): number {
  return Number.isFinite(figure) && figure > 0 ? figure : 0
}
