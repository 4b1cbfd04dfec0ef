/** What a query says, as far as anybody may know it. */

/**
 * Names of the parameters of a query, without its question mark, decoded. What an upstream could take for a separator is
 * one; a name that is no valid encoding stays as it is.
 */
export function queryNames(query: string): readonly string[] {
  if (query === '') return []
  return query
    .split(/[&;?]/)
    .map((pair) => decoded(pair.split('=', 1)[0] ?? ''))
    .filter((name) => name !== '')
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    // Half an escape: no upstream reads a plain name there either.
    return text
  }
}
