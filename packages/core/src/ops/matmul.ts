import { promote, isFloat } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { broadcastShapes, sizeOf } from "../shape.ts"
import { apply, checkTensor, type Op, type Tensor } from "../tensor.ts"
import { along } from "./along.ts"
import { add, castTo, mul } from "./elementwise.ts"
import { expand, permute, reshape, transpose, unsqueeze } from "./movement.ts"
import { sum } from "./reduce.ts"

/** Batched matrix product [b, m, k] × [b, k, n] → [b, m, n]; accumulates in f32 (f64 for f64). */
const matmulOp: Op<undefined> = {
  name: "matmul",
  meaning: {
    expand: ([a, b]) => {
      const [batch, m, k] = a!.shape as [number, number, number], n = b!.shape[2]!
      const left = expand(unsqueeze(a!, 2), [batch, m, n, k])
      const right = expand(unsqueeze(permute(b!, [0, 2, 1]), 1), [batch, m, n, k])
      return sum(mul(left, right), { axis: -1 })
    },
  },
  result: ([a, b]) => ({ shape: [a!.shape[0]!, a!.shape[1]!, b!.shape[2]!], dtype: a!.dtype }),
  vjp: (dy, _out, [a, b]) => [apply(matmulOp, [dy, transpose(b!)], undefined), apply(matmulOp, [transpose(a!), dy], undefined)],
  // One matrix for all examples: theirs are more rows, or more columns, which are rows of Bᵀ·Aᵀ = (A·B)ᵀ.
  batched: (src, mapped, attrs, op) => {
    if (mapped[0]) return (mapped[1] ? along(0, 0, 1) : along(1, 0))(src, mapped, attrs, op)
    const [a, b] = src.map((t) => transpose(t)) as [Tensor, Tensor]
    return transpose(along(1, 0)([b, a], [true, false], attrs, op)!)
  },
  template: {
    dims: ({ sources: [a, b] }) => ({ batch: a!.shape[0]!, m: a!.shape[1]!, k: a!.shape[2]!, n: b!.shape[2]! }),
    loads: ({ sources: [a, b] }) => ({
      a: { source: 0, shape: a!.shape, coords: (i) => [...i] },
      b: { source: 1, shape: b!.shape, coords: (i) => [...i] },
    }),
  },
}

/**
 * Matrix product as in NumPy: vectors are rows on the left and columns on the right, leading axes are batches that
 * broadcast. f16 and bf16 operands are multiplied and summed in f32.
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  checkTensor("matmul", a)
  checkTensor("matmul", b, "multiply by a number with mul")
  if (a.rank === 0 || b.rank === 0) fail("shape", "matmul", `needs at least one axis each, got ${showShape(a.shape)} × ${showShape(b.shape)}`, "multiply by a scalar with mul")
  const inner = a.shape[a.rank - 1]!, other = b.shape[Math.max(0, b.rank - 2)]!
  if (inner !== other)
    fail("shape", "matmul", `inner sizes differ, ${showShape(a.shape)} × ${showShape(b.shape)} (${inner} ≠ ${other})`, b.rank > 1 && b.shape[b.rank - 1] === inner ? "transpose the right operand?" : "the last axis of the left must equal the last but one of the right")
  const dtype = promote(a.dtype, b.dtype)
  if (dtype === "bool") fail("dtype", "matmul", "does not take bool", "cast to f32 or i32")
  // Narrow types are computed in their wide one, and only the result is narrowed.
  const wide = isFloat(dtype) ? (dtype === "f64" ? "f64" : "f32") : dtype === "u32" ? "u32" : "i32"
  const x = castTo(a.rank === 1 ? unsqueeze(a, 0) : a, wide), y = castTo(b.rank === 1 ? unsqueeze(b, 1) : b, wide)
  const m = x.shape[x.rank - 2]!, k = inner, n = y.shape[y.rank - 1]!
  const batch = broadcastShapes("matmul", x.shape.slice(0, -2), y.shape.slice(0, -2))
  const count = sizeOf(batch)
  const flat = sizeOf(y.shape.slice(0, -2)) === 1
    // One right operand for all: the batch is more rows.
    ? apply(matmulOp, [reshape(expand(x, [...batch, m, k]), [1, count * m, k]), reshape(y, [1, k, n])], undefined)
    : apply(matmulOp, [reshape(expand(x, [...batch, m, k]), [count, m, k]), reshape(expand(y, [...batch, k, n]), [count, k, n])], undefined)
  return castTo(reshape(flat, [...batch, ...(a.rank === 1 ? [] : [m]), ...(b.rank === 1 ? [] : [n])]), dtype)
}

/** x · Wᵀ + bias: x [..., in], weight [out, in], bias [out]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  if (weight.rank !== 2) fail("shape", "linear", `the weight needs two axes [out, in], got ${showShape(weight.shape)}`)
  const y = matmul(x, transpose(weight))
  return bias === undefined ? y : add(y, bias)
}
