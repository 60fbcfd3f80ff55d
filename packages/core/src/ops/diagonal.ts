import { scalarOf } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { add, and, constant, eq, ge, int, lt, max, min, select, sub } from "../expr.ts"
import { axisOf, sizeOf } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { arange } from "./create.ts"
import { add as plus, ge as atLeast, le as atMost, where } from "./elementwise.ts"
import { permute, unsqueeze } from "./movement.ts"
import { sum } from "./reduce.ts"

const before = (offset: number): number => Math.max(0, -offset)
const after = (offset: number): number => Math.max(0, offset)

/** [..., rows, columns] → [..., n], element i at (i, i + offset). */
const diagonalOp: Op<number> = {
  name: "diagonal",
  meaning: { move: (out, _node, offset) => [...out.slice(0, -1), add(out.at(-1)!, int(before(offset))), add(out.at(-1)!, int(after(offset)))] },
  result: ([x], offset) => {
    const [rows, columns] = x!.shape.slice(-2) as [number, number]
    return { shape: [...x!.shape.slice(0, -2), Math.max(0, Math.min(rows - before(offset), columns - after(offset)))], dtype: x!.dtype }
  },
  vjp: (dy, _out, [x], offset) => [apply(fromDiagonalOp, [dy], { offset, rows: x!.shape.at(-2)!, columns: x!.shape.at(-1)! })],
}
/** The transpose: [..., n] on a diagonal of [..., rows, columns], zero elsewhere. */
const fromDiagonalOp: Op<{ offset: number; rows: number; columns: number }> = {
  name: "fromDiagonal",
  meaning: {
    at: (read, out, node, { offset }) => {
      const zero = constant(scalarOf(node.dtype), 0), n = node.sources[0]!.shape.at(-1)!
      if (sizeOf(node.sources[0]!.shape) === 0) return zero
      const i = sub(out.at(-2)!, int(before(offset)))
      const hit = and(eq(sub(out.at(-1)!, int(after(offset))), i), and(ge(i, int(0)), lt(i, int(n))))
      return select(hit, read(0, [...out.slice(0, -2), max(min(i, int(n - 1)), int(0))]), zero)
    },
  },
  result: ([x], { rows, columns }) => ({ shape: [...x!.shape.slice(0, -1), rows, columns], dtype: x!.dtype }),
  vjp: (dy, _out, _src, { offset }) => [apply(diagonalOp, [dy], offset)],
}

/** The diagonal of two axes (the last two unless named) as a last axis; a positive offset lies above the main diagonal. */
export function diagonal(x: Tensor, offset = 0, first = -2, second = -1): Tensor {
  if (!Number.isInteger(offset)) fail("value", "diagonal", `the offset must be a whole number, got ${offset}`)
  const a = axisOf("diagonal", first, x.rank), b = axisOf("diagonal", second, x.rank)
  if (a === b) fail("axis", "diagonal", `needs two different axes, got ${first} and ${second}`)
  return apply(diagonalOp, [permute(x, [...x.shape.map((_, i) => i).filter((i) => i !== a && i !== b), a, b])], offset)
}
/** The sum of the main diagonal of the last two axes. */
export const trace = (x: Tensor): Tensor => sum(diagonal(x), { axis: -1 })

/** A vector as a diagonal of a square matrix, or the diagonal of a matrix. */
export function diag(x: Tensor, offset = 0): Tensor {
  if (x.rank === 2) return diagonal(x, offset)
  if (x.rank !== 1) fail("shape", "diag", `needs a vector or a matrix, got ${showShape(x.shape)}`, "diagonal takes any rank")
  const size = x.size + Math.abs(offset)
  return apply(fromDiagonalOp, [x], { offset, rows: size, columns: size })
}

function triangle(op: string, x: Tensor, diagonal: number, keep: typeof atMost): Tensor {
  if (x.rank < 2) fail("shape", op, `needs at least two axes, got ${showShape(x.shape)}`)
  if (!Number.isInteger(diagonal)) fail("value", op, `the diagonal must be a whole number, got ${diagonal}`)
  const [rows, columns] = x.shape.slice(-2) as [number, number]
  return where(keep(arange(columns), plus(unsqueeze(arange(rows), 1), diagonal)), x, 0)
}
/** The lower triangle of the last two axes, zero above `diagonal`. */
export const tril = (x: Tensor, diagonal = 0): Tensor => triangle("tril", x, diagonal, atMost)
/** The upper triangle of the last two axes, zero below `diagonal`. */
export const triu = (x: Tensor, diagonal = 0): Tensor => triangle("triu", x, diagonal, atLeast)
