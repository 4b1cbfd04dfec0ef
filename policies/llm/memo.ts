/** What is known of an object, kept with the object itself: the policies of one request read the same body in turn. */

export interface Memo<T> {
  of(subject: object): T | undefined
  /** Nothing is kept where the object takes no more members. */
  keep(subject: object, value: T): void
}

/**
 * In a member that nobody else can name or list. A WeakMap would cost two thirds of the parse that it saves, and more when
 * memory is cleaned up.
 */
export function memo<T>(name: string): Memo<T> {
  const key = Symbol(name)
  return {
    of: (subject) => (subject as { readonly [key]?: T })[key],
    keep: (subject, value) => void Reflect.defineProperty(subject, key, { value, writable: true }),
  }
}
