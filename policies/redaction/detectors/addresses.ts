export const ADDRESS_KEYWORDS: readonly string[] = []
export const findAddress = () => {}
