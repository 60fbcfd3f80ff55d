import type { ShareSpread } from "../spread.ts"

/**
 * Larger matrices lose more: what stays of [rows, columns] is in proportion to (rows + columns) / (rows · columns), up to all of
 * it (Erdős–Rényi, Mocanu et al., arXiv 1707.04780; as layers are weighed in Evci et al., arXiv 1911.11134).
 */
export const erk = (): ShareSpread<undefined> => ({
  name: "erk", toJSON: () => ({ spread: "erk" }),
  measure: () => undefined,
  shares(matrices, share) {
    const sizes = matrices.map(({ shape: [r, c] }) => r * c), raw = matrices.map(({ shape: [r, c] }) => (r + c) / (r * c)), whole = new Set<number>()
    for (;;) {
      // What stays of those that are not kept whole, by what they ask for.
      const stays = (1 - share) * sizes.reduce((a, b) => a + b, 0) - [...whole].reduce((n, i) => n + sizes[i]!, 0)
      const asked = sizes.reduce((n, size, i) => (whole.has(i) ? n : n + raw[i]! * size), 0), scale = asked === 0 ? 0 : stays / asked
      const over = raw.findIndex((d, i) => !whole.has(i) && d * scale > 1 && d === Math.max(...raw.filter((_, j) => !whole.has(j))))
      if (over < 0) return raw.map((d, i) => (whole.has(i) ? 0 : 1 - d * scale))
      whole.add(over)
    }
  },
})
