import { PortcullisError } from '../errors.ts'

/**
 * The output limit of each candidate.
 * @throws {PortcullisError} `output_below_candidates` when not even one token is left for each: a limit of zero means
 * unlimited to some servers.
 */
export function candidateShare(maxOutputTokens: number, candidates: number): number {
  const share = Math.floor(maxOutputTokens / candidates)
  if (share < 1) throw new PortcullisError('output_below_candidates', 'Less output than one token for each candidate.')
  return share
}
