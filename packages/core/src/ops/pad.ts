import { fail, showShape } from "../errors.ts"
import type { Tensor } from "../tensor.ts"
import { cat, expand, flip, narrow, place, slice } from "./movement.ts"

export interface PadOptions {
  /**
   * What the new elements are: `value`; the neighbours mirrored at the edge element (`reflect`); the edge element
   * (`replicate`); the other end (`circular`).
   */
  readonly mode?: "constant" | "reflect" | "replicate" | "circular"
  /** Value of constant padding, 0 unless given. */
  readonly value?: number
}

type Side = (x: Tensor, axis: number, n: number) => Tensor
/** The elements before and after an axis, and the most that an axis of size n can give. */
const modes: Record<"reflect" | "replicate" | "circular", { before: Side; after: Side; most(n: number): number }> = {
  reflect: {
    before: (x, axis, n) => flip(narrow(x, axis, 1, n), axis),
    after: (x, axis, n) => flip(narrow(x, axis, x.shape[axis]! - 1 - n, n), axis),
    most: (n) => n - 1,
  },
  replicate: {
    before: (x, axis, n) => expand(narrow(x, axis, 0, 1), x.shape.map((m, i) => (i === axis ? n : m))),
    after: (x, axis, n) => expand(narrow(x, axis, -1, 1), x.shape.map((m, i) => (i === axis ? n : m))),
    most: (n) => (n > 0 ? Infinity : 0),
  },
  circular: {
    before: (x, axis, n) => narrow(x, axis, x.shape[axis]! - n, n),
    after: (x, axis, n) => narrow(x, axis, 0, n),
    most: (n) => n,
  },
}

/**
 * Adds elements around x: one pair [before, after] for each of the last axes, in the order of the axes. Negative
 * amounts of constant padding crop.
 */
export function pad(x: Tensor, amounts: readonly (readonly [before: number, after: number])[], { mode = "constant", value = 0 }: PadOptions = {}): Tensor {
  const skip = x.rank - amounts.length
  if (skip < 0) fail("axis", "pad", `${amounts.length} pairs for a tensor of rank ${x.rank}`)
  if (amounts.flat().some((p) => !Number.isInteger(p))) fail("value", "pad", `amounts must be whole numbers, got [${amounts.join(" | ")}]`)
  const pairs = x.shape.map((_, i) => amounts[i - skip] ?? ([0, 0] as const))
  if (mode === "constant") {
    if (pairs.some(([a, b], i) => x.shape[i]! + Math.min(a, 0) + Math.min(b, 0) < 0)) fail("value", "pad", `[${amounts.join(" | ")}] crops more than there is in ${showShape(x.shape)}`)
    const kept = slice(x, ...pairs.map(([a, b], i) => [Math.max(0, -a), x.shape[i]! + Math.min(0, b)] as const))
    return place(kept, kept.shape.map((n, i) => n + Math.max(0, pairs[i]![0]) + Math.max(0, pairs[i]![1])), pairs.map(([a]) => Math.max(0, a)), pairs.map(() => 1), value)
  }
  const { before, after, most } = modes[mode] ?? fail("value", "pad", `no mode '${String(mode)}'`, `one of constant, ${Object.keys(modes).join(", ")}`)
  return pairs.reduce((y, [a, b], axis) => {
    const n = x.shape[axis]!
    if (a === 0 && b === 0) return y
    if (Math.min(a, b) < 0 || Math.max(a, b) > most(n)) fail("value", "pad", `${mode} takes 0 … ${most(n)} elements for axis ${axis} of size ${n}, got [${a}, ${b}]`)
    return cat([...(a > 0 ? [before(y, axis, a)] : []), y, ...(b > 0 ? [after(y, axis, b)] : [])], axis)
  }, x)
}
