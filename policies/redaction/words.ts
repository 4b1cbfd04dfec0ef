/** Words of the protocols and names of members and models come again in every request: each is judged once. */

const MOST_WORDS = 1_024
/** Without white space, so that no sentence is remembered. */
const WORD = /^[\w./:-]{1,64}$/

/**
 * The same judgement, which remembers the words that it accepted and forgets them all when there are too many.
 * @param accepts must say the same of the same word every time
 */
export function rememberingWords(accepts: (word: string) => boolean): (word: string) => boolean {
  const accepted = new Set<string>()
  return (word) => {
    if (accepted.has(word)) return true
    if (!accepts(word)) return false
    if (WORD.test(word)) {
      if (accepted.size >= MOST_WORDS) accepted.clear()
      // A copy: a word cut out of a longer text would keep all of it in memory.
      accepted.add(Buffer.from(word, 'latin1').toString('latin1'))
    }
    return true
  }
}
