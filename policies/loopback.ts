/** Which hosts never leave this machine. */

/** @param host as `URL.hostname` writes it: in lower case, IPv6 in brackets. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(host)
}
