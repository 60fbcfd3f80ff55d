/** Golden ops that no device runs, and why. A skip that is not needed fails. */
export const skips: Readonly<Record<string, string>> = {}
