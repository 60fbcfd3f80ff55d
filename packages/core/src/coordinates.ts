import { add, div, index, int, mul, rem, type Expr } from "./expr.ts"
import { stridesOf, type Shape } from "./shape.ts"
import { weightedSum } from "./sum.ts"

/** The coordinates of a kernel over `shape`. */
export const coordinates = (shape: Shape): Expr[] => shape.map((n, i) => index(i, n))

/** Row-major position of coordinates. */
export function flatIndex(coords: readonly Expr[], shape: Shape): Expr {
  const exact = weightedSum(coords, stridesOf(shape))
  if (exact !== undefined) return exact
  let at = int(0)
  for (let i = 0; i < shape.length; i++) at = add(mul(at, int(shape[i]!)), coords[i]!)
  return at
}

/** Coordinates of a row-major position. */
export function unflatten(at: Expr, shape: Shape): Expr[] {
  const coords = new Array<Expr>(shape.length)
  for (let i = shape.length - 1; i >= 0; i--) {
    const n = shape[i]!
    coords[i] = n <= 1 ? int(0) : i === 0 ? at : rem(at, int(n))
    at = n <= 1 || i === 0 ? at : div(at, int(n))
  }
  return coords
}

/** Coordinates in `to` of the element that has these in `from`, a shape of as many elements in the same order. */
export function reshaped(coords: readonly Expr[], from: Shape, to: Shape): Expr[] {
  return withOnes(coords, from, to) ?? unflatten(flatIndex(coords, from), to)
}

/** Where the shapes differ in axes of size 1 only, the other coordinates stay; undefined where they differ otherwise. */
function withOnes(coords: readonly Expr[], from: Shape, to: Shape): Expr[] | undefined {
  // Data that is not known to be a coordinate is not simplified.
  for (let i = 0; i < from.length; i++)
    if (from[i] === 1 ? coords[i]!.op !== "const" : !(coords[i]!.low >= 0 && coords[i]!.high < from[i]!)) return undefined
  const out = new Array<Expr>(to.length)
  let i = 0
  for (let j = 0; j < to.length; j++) {
    while (to[j] !== 1 && from[i] === 1) i++
    if (to[j] !== 1 && from[i] !== to[j]) return undefined
    out[j] = to[j] === 1 ? int(0) : coords[i++]!
  }
  return out
}
