/** As many texts as there are numbers below `count`. */
export const each = <T>(count: number, of: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => of(i))
