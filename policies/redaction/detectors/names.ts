export const NAME_KEYWORDS: readonly string[] = []
export const findName = () => {}
