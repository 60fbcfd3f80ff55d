import { fail, showShape } from "../errors.ts"
import { eigh as diagonalise } from "../linalg/eigh.ts"
import { leastSquares as fit, matrixRank as rankOf, pseudoInverse as invertAny, type RankOptions } from "../linalg/least-squares.ts"
import { qr as factorQR } from "../linalg/qr.ts"
import { svd as decompose } from "../linalg/svd.ts"
import type { Tensor } from "../tensor.ts"
import { arange } from "./create.ts"
import { tril } from "./diagonal.ts"
import { add, div, eq, logicalAnd, mul, square, sub, where } from "./elementwise.ts"
import { solveTriangular } from "./linalg.ts"
import { matched, matrices, matrixFunction, squares } from "./matrices.ts"
import { matmul } from "./matmul.ts"
import { cat, narrow, reshape, transpose, unsqueeze } from "./movement.ts"

export type { RankOptions }

// Orthogonal decompositions and what is made of them, on the host in f64, over all leading axes.

const isDiagonal = (n: number): Tensor => eq(arange(n), unsqueeze(arange(n), 1))
/** a / b, and 0 for 0 / 0: equal values do no harm where nothing asks what lies between them. */
function share(a: Tensor, b: Tensor): Tensor {
  const idle = logicalAnd(eq(a, 0), eq(b, 0))
  return where(idle, 0, div(a, where(idle, 1, b)))
}
const columns = (values: Tensor): Tensor => unsqueeze(values, -2)
const rows = (values: Tensor): Tensor => unsqueeze(values, -1)
/** The antisymmetric part, doubled. */
const twist = (x: Tensor): Tensor => sub(x, transpose(x))

export interface QRFactors {
  /** [..., m, k] with orthonormal columns. */
  readonly q: Tensor
  /** [..., k, n], upper; its diagonal may be negative, as LAPACK's. */
  readonly r: Tensor
}
export interface QROptions {
  /** Columns of Q: `reduced`, min(m, n), unless given; or `complete`, m. */
  readonly size?: "reduced" | "complete"
}
const qrFactors = matrixFunction<"reduced" | "complete", keyof QRFactors>({
  name: "qr",
  parts: ([[m, n] = [0, 0]], size) => {
    const k = size === "complete" ? m : Math.min(m, n)
    return { q: [m, k], r: [k, n] }
  },
  one: ([a], [[m, n]], size) => factorQR(a!, m, n, size),
  vjp: ({ q: dq, r: dr }, { q, r }, [a]) => {
    const [m, n] = a!.shape.slice(-2) as [number, number], k = Math.min(m, n)
    if (q.shape.at(-1) !== k) fail("grad", "qr", `has no gradient with the ${m} columns of complete factors of ${m} × ${n} matrices`, "use reduced factors")
    // Walter & Lehmann, "Algorithmic differentiation of linear algebra functions" (2010), §3.3; columns beyond the m-th are Q·R's.
    const beyond = (t: Tensor): Tensor => narrow(t, -1, k, n - k)
    const head = (t: Tensor): Tensor => narrow(t, -1, 0, k)
    const tall = n > k ? add(dq, matmul(beyond(a!), transpose(beyond(dr)))) : dq
    const m0 = sub(matmul(head(r), transpose(head(dr))), matmul(transpose(tall), q))
    const mirrored = add(tril(m0), transpose(tril(m0, -1)))
    const first = solveTriangular(head(r), add(tall, matmul(q, mirrored)), { triangle: "upper", side: "right", transposed: true })
    return [n > k ? cat([first, matmul(q, beyond(dr))], -1) : first]
  },
})
/** Q and R with A = Q·R, for A [..., m, n]. The gradient needs the first min(m, n) columns to be independent. */
export function qr(a: Tensor, { size = "reduced" }: QROptions = {}): QRFactors {
  if (size !== "reduced" && size !== "complete") fail("value", "qr", `size must be reduced or complete, got ${String(size)}`)
  return qrFactors([matrices("qr", a)], size)
}

export interface EigenFactors {
  /** [..., n], ascending. */
  readonly values: Tensor
  /** Shape [..., n, n]. Column j belongs to value j; the columns are orthonormal, their signs free. */
  readonly vectors: Tensor
}
const eigenFactors = matrixFunction<undefined, keyof EigenFactors>({
  name: "eigh",
  parts: ([[n] = [0]]) => ({ values: [n], vectors: [n, n] }),
  one: ([a], [[n]]) => diagonalise(a!, n),
  vjp: ({ values: dw, vectors: dv }, { values: w, vectors: v }) => {
    // Giles, "Collected matrix derivative results" (2008), §3.1, symmetrized.
    const turn = share(mul(twist(matmul(transpose(v), dv)), 0.5), sub(columns(w), rows(w)))
    const inner = where(isDiagonal(w.shape.at(-1)!), columns(dw), turn)
    return [matmul(matmul(v, inner), transpose(v))]
  },
})
/**
 * Eigenvalues and eigenvectors of symmetric matrices [..., n, n], of which only the lower half is read; the gradient is
 * that of a symmetric A. The gradient of vectors does not exist (is infinite or NaN) where two values are equal.
 */
export const eigh = (a: Tensor): EigenFactors => eigenFactors([squares("eigh", a)], undefined)

export interface SVDFactors {
  /** [..., m, k] with orthonormal columns. */
  readonly u: Tensor
  /** [..., k], descending. */
  readonly s: Tensor
  /** Vᵀ, [..., k, n] with orthonormal rows. */
  readonly vt: Tensor
}
export interface SVDOptions {
  /** `reduced`: k = min(m, n) columns of U and rows of Vᵀ, unless given; `full`: m and n. */
  readonly size?: "reduced" | "full"
}
const svdFactors = matrixFunction<"reduced" | "full", keyof SVDFactors>({
  name: "svd",
  parts: ([[m, n] = [0, 0]], size) => {
    const k = Math.min(m, n), full = size === "full"
    return { u: [m, full ? m : k], s: [k], vt: [full ? n : k, n] }
  },
  one: ([a], [[m, n]], size) => decompose(a!, m, n, size),
  vjp: ({ u: du, s: ds, vt: dvt }, { u, s, vt }, [a]) => {
    const [m, n] = a!.shape.slice(-2) as [number, number], k = s.shape.at(-1)!
    if (u.shape.at(-1) !== k || vt.shape.at(-2) !== k) fail("grad", "svd", `has no gradient with full factors of ${m} × ${n} matrices`, "use reduced factors")
    // Townsend, "Differentiating the singular value decomposition" (2016), eq. 5.
    const ut = transpose(u), v = transpose(vt), dv = transpose(dvt)
    const gaps = sub(square(columns(s)), square(rows(s)))
    const left = mul(share(twist(matmul(ut, du)), gaps), columns(s)), right = mul(rows(s), share(twist(matmul(vt, dv)), gaps))
    const inner = where(isDiagonal(k), columns(ds), add(left, right))
    let da = matmul(matmul(u, inner), vt)
    // What turns U out of its span, and V out of its.
    if (m > k) da = add(da, matmul(share(sub(du, matmul(u, matmul(ut, du))), columns(s)), vt))
    if (n > k) da = add(da, matmul(u, share(sub(dvt, matmul(matmul(dvt, v), vt)), rows(s))))
    return [da]
  },
})
/**
 * U, s and Vᵀ with A = U·diag(s)·Vᵀ, for A [..., m, n] of any rank. The gradient of U and V does not exist (is infinite
 * or NaN) where two singular values are equal; that of s always does.
 */
export function svd(a: Tensor, { size = "reduced" }: SVDOptions = {}): SVDFactors {
  if (size !== "reduced" && size !== "full") fail("value", "svd", `size must be reduced or full, got ${String(size)}`)
  return svdFactors([matrices("svd", a)], size)
}

function checkTolerance(op: string, { tolerance }: RankOptions): RankOptions {
  if (tolerance === undefined) return {}
  if (!(tolerance >= 0 && tolerance < Infinity)) fail("value", op, `tolerance must be finite and ≥ 0, got ${tolerance}`)
  return { tolerance }
}
const ranks = matrixFunction<RankOptions, "y">({
  name: "matrixRank",
  parts: () => ({ y: [] }),
  one: ([a], [[m, n]], options) => ({ y: rankOf(a!, m, n, options) }),
  vjp: () => [null],
  dtype: "i32",
})
/** How many singular values of [..., m, n] lie above the tolerance → i32 [...]. */
export const matrixRank = (a: Tensor, options: RankOptions = {}): Tensor => ranks([matrices("matrixRank", a)], checkTolerance("matrixRank", options)).y

/** The gradient of A from that of its pseudo-inverse P, at constant rank (Golub & Pereyra 1973). */
function throughPseudoInverse(a: Tensor, p: Tensor, dp: Tensor): Tensor {
  const pt = transpose(p), dpt = transpose(dp)
  const outside = sub(dpt, matmul(matmul(a, p), dpt))
  const within = sub(dpt, matmul(dpt, matmul(p, a)))
  return add(sub(matmul(outside, matmul(p, pt)), matmul(matmul(pt, dp), pt)), matmul(matmul(pt, p), within))
}
const pseudoInverses = matrixFunction<RankOptions, "p">({
  name: "pseudoInverse",
  parts: ([[m, n] = [0, 0]]) => ({ p: [n, m] }),
  one: ([a], [[m, n]], options) => ({ p: invertAny(a!, m, n, options) }),
  vjp: ({ p: dp }, { p }, [a]) => [throughPseudoInverse(a!, p, dp)],
})
/** Moore–Penrose inverses [..., n, m] of matrices [..., m, n] of any rank. */
export const pseudoInverse = (a: Tensor, options: RankOptions = {}): Tensor => pseudoInverses([matrices("pseudoInverse", a)], checkTolerance("pseudoInverse", options)).p

const fits = matrixFunction<RankOptions, "x">({
  name: "leastSquares",
  parts: ([[, n] = [0, 0], [, count] = [0, 0]]) => ({ x: [n, count] }),
  one: ([a, b], [[m, n], [, count]], options) => ({ x: fit(a!, m, n, b!, count, options) }),
  vjp: ({ x: dx }, _out, [a, b], options) => {
    const p = pseudoInverses([a!], options).p
    return [throughPseudoInverse(a!, p, matmul(dx, transpose(b!))), matmul(transpose(p), dx)]
  },
})
/**
 * The X of least norm that minimises ‖A·X − B‖, for A [..., m, n] of any rank and B [..., m, count] or a vector [m].
 * Leading axes broadcast.
 */
export function leastSquares(a: Tensor, b: Tensor, options: RankOptions = {}): Tensor {
  const vector = b.rank === 1
  const [x, y] = matched("leastSquares", a, vector ? unsqueeze(b, 1) : b)
  if (x.shape.at(-2) !== y.shape.at(-2)) fail("shape", "leastSquares", `both sides need as many rows, got ${showShape(a.shape)} and ${showShape(b.shape)} (${x.shape.at(-2)} ≠ ${y.shape.at(-2)})`)
  const z = fits([x, y], checkTolerance("leastSquares", options)).x
  return vector ? reshape(z, z.shape.slice(0, -1)) : z
}
