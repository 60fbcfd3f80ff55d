import { fail, showShape } from "../errors.ts"
import { decodeParts, partReader, type Encoded } from "../format.ts"
import { freshExprs, index, int, load, mul as times, type Expr } from "../expr.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { along } from "./along.ts"
import { abs, castTo, div, eq, mul, round, where } from "./elementwise.ts"
import { matmul } from "./matmul.ts"
import { place, reshape, slice, transpose } from "./movement.ts"

import { amax } from "./reduce.ts"

/** Neighbours of an activation row that share an int8 scale. */
export const activationGroup = 32

/**
 * Rounds rows to int8 with one scale per 32 neighbours and back: q = round(x · 127/amax), x̂ = q · amax/127, round half
 * to even. What the integer kernels see of their activations.
 */
export function roundActivations(x: Tensor): Tensor {
  const columns = x.shape.at(-1)!
  const groups = Math.ceil(columns / activationGroup)
  const rows = x.size / Math.max(1, columns)
  const flat = reshape(x, [rows, columns])
  const padded = place(flat, [rows, groups * activationGroup], [0, 0], [1, 1])
  const grouped = reshape(padded, [rows, groups, activationGroup])
  const largest = amax(abs(grouped), { axis: -1, keepDims: true })
  const codes = round(mul(grouped, where(eq(largest, 0), 0, div(127, largest))))
  const back = reshape(mul(codes, div(largest, 127)), [rows, groups * activationGroup])
  return reshape(slice(back, [], [0, columns]), x.shape)
}

/** Bounds of a format's codes, as its expression states them. */
function codeBounds({ format, names, shape: [n, k] }: Encoded, parts: readonly Tensor[]): { low: number; high: number } {
  return freshExprs(() => {
    const read = partReader(names, 0, (source, [at]) => load(source, parts[source]!.dtype, at!))
    const { low, high } = format.code(read, index(0, n), index(1, k))
    return { low, high }
  })
}

/**
 * x̂ · Wᵀ with x̂ the int8 rounding of x [m, k] and W [n, k] stored in a format. Devices may compute it on integers:
 * Σ over groups of scale · activation scale · Σ code · q.
 */
const quantizedOp: Op<Encoded> = {
  name: "quantizedMatmul",
  meaning: {
    expand: ([x, ...parts], encoded) => matmul(roundActivations(x!), transpose(decodeParts(encoded, parts))),
  },
  result: ([x], { shape }) => ({ shape: [x!.shape[0]!, shape[0]], dtype: "f32" }),
  // Straight through the rounding of x.
  vjp: (dy, _out, [x, ...parts], encoded) => [castTo(matmul(dy, decodeParts(encoded, parts)), x!.dtype), ...parts.map(() => null)],
  batched: along(0, 0),
  template: {
    dims: ({ sources: [x, ...parts] }, encoded) => {
      const { format: { group }, shape: [n, k] } = encoded
      return { m: x!.shape[0]!, n, k, group: Math.min(group, k), ...codeBounds(encoded, parts) }
    },
    loads: ({ sources: [x, ...parts] }, { format, shape: [n, k], names }) => {
      const all = parts.map((_, i) => i + 1)
      const group = Math.min(format.group, k), groups = Math.ceil(k / group)
      const perGroup = (piece: NonNullable<Encoded["format"]["min"]>) => ({
        sources: all, shape: [n, groups],
        at: (read: Parameters<typeof partReader>[2], [row, g]: readonly Expr[]) => piece(partReader(names, 1, read), row!, times(g!, int(group))),
      })
      return {
        x: { source: 0, shape: x!.shape, coords: (i) => [...i] },
        code: { sources: all, shape: [n, k], at: (read, [row, column]) => format.code(partReader(names, 1, read), row!, column!) },
        scale: perGroup((part, row, column) => format.scale(part, row, column)),
        ...(format.zero ? { zero: perGroup((part, row, column) => format.zero!(part, row, column)) } : {}),
        ...(format.min ? { min: perGroup((part, row, column) => format.min!(part, row, column)) } : {}),
      }
    },
  },
}

/** x [..., k] times the transpose of a stored weight [n, k], with x rounded to int8 groups. */
export function quantizedMatmul(x: Tensor, parts: readonly Tensor[], encoded: Encoded): Tensor {
  const [n, k] = encoded.shape
  if (x.shape.at(-1) !== k) fail("shape", "quantizedMatmul", `inner sizes differ, ${showShape(x.shape)} × [${n}, ${k}]ᵀ`)
  const rows = x.size / Math.max(1, k)
  return reshape(apply(quantizedOp, [castTo(reshape(x, [rows, k]), "f32"), ...parts], encoded), [...x.shape.slice(0, -1), n])
}
