// Expressions seen several neighbours at a time.
import { expr, flatten, rewrite, sizeOf, type Expr, type Shape } from "@thimble/core"

/** Coordinates of positions in row-major order, of which the last may lie beyond the end. */
function unflatten(at: Expr, shape: Shape): Expr[] {
  const coords = new Array<Expr>(shape.length)
  for (let i = shape.length - 1; i >= 0; i--) {
    const n = expr.int(shape[i]!)
    coords[i] = i === 0 ? at : expr.rem(at, n)
    at = expr.div(at, n)
  }
  return coords
}

/** Expressions over coordinates as expressions over one position in row-major order per group of axes. */
export function flattened(roots: readonly Expr[], groups: readonly (readonly [axes: Shape, position: Expr])[]): Expr[] {
  const coords = groups.flatMap(([axes, position]) => (axes.length === 0 ? [] : unflatten(position, axes)))
  return rewrite(roots, (e) => (e.op === "index" ? coords[e.value]! : undefined))
}

/** `axis` counts groups of `lanes` neighbours: the expression at one of them. */
export function laneOf(root: Expr, axis: number, size: number, lanes: number, lane: number): Expr {
  const position = positionOf(axis, size, lanes, lane)
  return rewrite([root], (e) => (e.op === "index" && e.value === axis ? position : undefined))[0]!
}
export const positionOf = (axis: number, size: number, lanes: number, lane: number): Expr =>
  expr.add(expr.mul(expr.index(axis, Math.ceil(size / lanes)), expr.int(lanes)), expr.int(lane))

/** The axis along which most of what is read has adjacent neighbours, several of which may share a byte; the last of several. */
export function contiguousAxis(root: Expr, shape: Shape): number | undefined {
  let best: number | undefined, most = 0
  shape.forEach((n, axis) => {
    if (n < 4) return
    const count = Math.max(adjacent(root, axis, n, 4, 1), n < 16 ? 0 : adjacent(root, axis, n, 16, 15))
    if (count > 0 && count >= most) [best, most] = [axis, count]
  })
  return best
}
/** How many loads of the first of some lanes another lane has at most so many elements on as lanes lie between. */
function adjacent(root: Expr, axis: number, size: number, lanes: number, other: number): number {
  const [first, second] = [0, other].map((lane) => flatten([laneOf(root, axis, size, lanes, lane)]).flatMap((x) => (x.op === "load" ? [x] : [])))
  // Lanes may have been simplified differently, so loads are told by what they read.
  return first!.filter((x) => second!.some((y) => {
    const step = expr.sub(y.src[0]!, x.src[0]!)
    return x.value === y.value && x !== y && step.op === "const" && step.value >= 1 && step.value <= other
  })).length
}

/** Whether all that is read of several neighbours lies in the same aligned words, or is the same. */
export function readsTogether(lanes: readonly Expr[]): boolean {
  return flatten(lanes).every((e) => e.op !== "load" || (e.src[0]!.low >= 0 && expr.rem(e.src[0]!, expr.int(4)).op === "const") || lanes.every((l) => flatten([l]).includes(e)))
}
export const isSmall = (roots: readonly Expr[], most: number): boolean => flatten(roots).length <= most
export const wordsOf = (shape: Shape, bytes: number): number => Math.ceil((sizeOf(shape) * bytes) / 4)
