import { blocks, csr } from "./listed.ts"
import { bitmask, nOfM } from "./masked.ts"
import type { SparseFormat, SparseValues } from "./values.ts"

type Make = (values: SparseValues, ...numbers: number[]) => SparseFormat
const kinds: readonly (readonly [pattern: RegExp, make: Make])[] = [
  [/^csr (\w+)$/, (values) => csr({ values })],
  [/^bitmask (\w+)$/, (values) => bitmask({ values })],
  [/^(\d+):(\d+) (\w+)$/, (values, n, m) => nOfM(n!, m!, { values })],
  [/^blocks (\d+)x(\d+) (\w+)$/, (values, r, c) => blocks([r!, c!], { values })],
]

/** The sparse format of a name: `sparseNamed(format.name)` is the same again; undefined for other names. */
export function sparseNamed(name: string): SparseFormat | undefined {
  for (const [pattern, make] of kinds) {
    const found = pattern.exec(name)
    if (found !== null) return make(found.at(-1) as SparseValues, ...found.slice(1, -1).map(Number))
  }
  return undefined
}
