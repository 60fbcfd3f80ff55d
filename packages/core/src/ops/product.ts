import { fail, showShape } from "../errors.ts"
import type { Tensor } from "../tensor.ts"
import { add, mul } from "./elementwise.ts"
import { matmul } from "./matmul.ts"
import { unsqueeze } from "./movement.ts"

/** Matrix products of two batches of one size, [b, m, k] × [b, k, n]; unlike matmul, nothing broadcasts. */
export function bmm(a: Tensor, b: Tensor): Tensor {
  if (a.rank !== 3 || b.rank !== 3 || a.shape[0] !== b.shape[0]) fail("shape", "bmm", `needs [b, m, k] × [b, k, n], got ${showShape(a.shape)} × ${showShape(b.shape)}`, "matmul broadcasts")
  return matmul(a, b)
}

export interface AddmmOptions {
  /** Factor of the product, 1 unless given. */
  readonly alpha?: number
  /** Factor of the first operand, 1 unless given; 0 ignores it, also where it is NaN. */
  readonly beta?: number
}
/** beta·c + alpha·(a × b), of matrices; c broadcasts. */
export function addmm(c: Tensor, a: Tensor, b: Tensor, { alpha = 1, beta = 1 }: AddmmOptions = {}): Tensor {
  if (a.rank !== 2 || b.rank !== 2) fail("shape", "addmm", `needs two matrices, got ${showShape(a.shape)} × ${showShape(b.shape)}`)
  const scale = (x: Tensor, by: number): Tensor => (by === 1 ? x : mul(x, by))
  const product = scale(matmul(a, b), alpha)
  return beta === 0 ? product : add(product, scale(c, beta))
}

function checkVectors(op: string, a: Tensor, b: Tensor): void {
  if (a.rank !== 1 || b.rank !== 1) fail("shape", op, `needs two vectors, got ${showShape(a.shape)} and ${showShape(b.shape)}`)
}
/** All products of two vectors' elements, [m] and [n] → [m, n]. */
export function outer(a: Tensor, b: Tensor): Tensor {
  checkVectors("outer", a, b)
  return mul(unsqueeze(a, 1), b)
}
/** The inner product of two vectors. */
export function dot(a: Tensor, b: Tensor): Tensor {
  checkVectors("dot", a, b)
  return matmul(a, b)
}
