// Merges axes of a kernel that memory does not tell apart, so that loops are few and long.
import { expr, flatten, rewrite, type Expr, type Shape } from "@thimble/core"

export interface Loops {
  /** Sizes of the loops: first those of the output, then the reduced ones. */
  readonly shape: number[]
  /** How many of them belong to the output. */
  readonly outer: number
  readonly bodies: readonly Expr[]
}

/** Drops axes of size 1 and joins neighbours i, i+1 (of the output, or of the reduction) wherever i·size + j says it all. */
export function coalesce(shape: Shape, outer: number, bodies: readonly Expr[]): Loops {
  const kept = shape.map((n, i) => ({ n, i })).filter(({ n }) => n !== 1)
  let sizes = kept.map(({ n }) => n)
  let outers = kept.filter(({ i }) => i < outer).length
  const place = new Map(kept.map(({ i }, at) => [i, at]))
  let list = renumber(bodies, (axis) => expr.index(place.get(axis)!, shape[axis]!))
  for (let a = sizes.length - 2; a >= 0; a--) {
    if (a === outers - 1) continue
    const size = sizes[a]! * sizes[a + 1]!
    if (size > 2 ** 31 - 1) continue
    const inner = expr.int(sizes[a + 1]!)
    const merged = expr.index(a, size)
    const joined = renumber(list, (axis, n) =>
      axis === a ? expr.div(merged, inner) : axis === a + 1 ? expr.rem(merged, inner) : axis > a ? expr.index(axis - 1, n) : undefined)
    if (flatten(joined).some((e) => (e.op === "div" || e.op === "rem") && e.src[0] === merged)) continue
    list = joined
    sizes = [...sizes.slice(0, a), size, ...sizes.slice(a + 2)]
    if (a < outers) outers--
  }
  return { shape: sizes, outer: outers, bodies: list }
}

function renumber(bodies: readonly Expr[], to: (axis: number, size: number) => Expr | undefined): Expr[] {
  return rewrite(bodies, (e) => (e.op === "index" ? to(e.value, e.high + 1) : undefined))
}
