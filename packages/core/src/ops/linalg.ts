import { fail, showShape } from "../errors.ts"
import { cholesky as factorCholesky } from "../linalg/cholesky.ts"
import { choleskyInverse as invertCholesky, inverseUpperFactor as upperFactor } from "../linalg/cholesky-inverse.ts"
import { determinant as det, signAndLogDeterminant } from "../linalg/determinant.ts"
import { inverse as invert, solve as solveSystem } from "../linalg/lu.ts"
import { solveTriangular as substitute, type TriangularOptions } from "../linalg/triangular.ts"
import type { Tensor } from "../tensor.ts"
import { tril, triu } from "./diagonal.ts"
import { add, mul, neg } from "./elementwise.ts"
import { matmul } from "./matmul.ts"
import { matched, matrixFunction, squares, type MatrixFunction } from "./matrices.ts"
import { reshape, transpose, unsqueeze } from "./movement.ts"

export type { TriangularOptions }

// Systems and factors of square matrices, on the host in f64, over all leading axes.

const both = (x: Tensor): Tensor => mul(add(x, transpose(x)), 0.5)
const scaleBy = (matrix: Tensor, numbers: Tensor): Tensor => mul(matrix, unsqueeze(unsqueeze(numbers, -1), -1))

const inverses = matrixFunction<undefined, "y">({
  name: "inverse",
  parts: ([n]) => ({ y: n! }),
  one: ([a], [[n]]) => ({ y: invert(a!, n) }),
  vjp: ({ y: dy }, { y }) => [neg(matmul(matmul(transpose(y), dy), transpose(y)))],
})
/** Inverses of square matrices [..., n, n]. A singular one is an error when the result is read. */
export const inverse = (a: Tensor): Tensor => inverses([squares("inverse", a)], undefined).y

const solutions: MatrixFunction<undefined, "x"> = matrixFunction({
  name: "solve",
  parts: ([, b]) => ({ x: b! }),
  one: ([a, b], [[n], [, count]]) => ({ x: solveSystem(a!, n, b!, count) }),
  vjp: ({ x: dx }, { x }, [a]) => {
    const db = solutions([transpose(a!), dx], undefined).x
    return [neg(matmul(db, transpose(x))), db]
  },
})
/**
 * X with A·X = B for square A [..., n, n] and B [..., n, count], or a vector B [n]. Leading axes broadcast. A singular
 * matrix is an error when the result is read.
 */
export function solve(a: Tensor, b: Tensor): Tensor {
  return withColumns("solve", a, b, (x, y) => solutions([x, y], undefined).x)
}
/** Calls `fn` with matched matrices; a vector on the right is one column, and so is its result. */
function withColumns(op: string, a: Tensor, b: Tensor, fn: (a: Tensor, b: Tensor) => Tensor): Tensor {
  squares(op, a)
  const vector = b.rank === 1
  const [x, y] = matched(op, a, vector ? unsqueeze(b, 1) : b)
  if (x.shape.at(-1) !== y.shape.at(-2)) fail("shape", op, `rows of the right side must be ${x.shape.at(-1)}, got ${showShape(a.shape)} and ${showShape(b.shape)}`)
  const z = fn(x, y)
  return vector ? reshape(z, z.shape.slice(0, -1)) : z
}

const substitutions: MatrixFunction<TriangularOptions, "x"> = matrixFunction({
  name: "solveTriangular",
  parts: ([, b]) => ({ x: b! }),
  one: ([t, b], [[n], [rows, columns]], options) => ({ x: substitute(t!, n, b!, options.side === "right" ? rows : columns, options) }),
  vjp: ({ x: dx }, { x }, [t], options) => {
    const { triangle = "lower", side = "left", unitDiagonal = false } = options
    const db = substitutions([t!, dx], { ...options, transposed: !(options.transposed ?? false) }).x
    const ofUsed = side === "left" ? matmul(db, transpose(x)) : matmul(transpose(x), db)
    const ofStored = neg(options.transposed ? transpose(ofUsed) : ofUsed)
    const first = unitDiagonal ? 1 : 0
    return [triangle === "lower" ? tril(ofStored, -first) : triu(ofStored, first), db]
  },
})
const triangularChoices = { triangle: ["lower", "upper"], side: ["left", "right"] } as const
/**
 * X with T·X = B, or X·T = B with `side: "right"`, for triangular T [..., n, n], of which the other half is not read. B
 * is [..., n, count] ([..., count, n] on the right), or a vector [n] on the left. Leading axes broadcast.
 */
export function solveTriangular(t: Tensor, b: Tensor, options: TriangularOptions = {}): Tensor {
  for (const name of ["triangle", "side"] as const) {
    const value: string | undefined = options[name]
    if (value !== undefined && !(triangularChoices[name] as readonly string[]).includes(value))
      fail("value", "solveTriangular", `${name} must be ${triangularChoices[name].join(" or ")}, got ${value}`)
  }
  if (options.side !== "right") return withColumns("solveTriangular", t, b, (x, y) => substitutions([x, y], options).x)
  const [x, y] = matched("solveTriangular", squares("solveTriangular", t), b)
  if (x.shape.at(-1) !== y.shape.at(-1)) fail("shape", "solveTriangular", `columns of the right side must be ${x.shape.at(-1)}, got ${showShape(t.shape)} and ${showShape(b.shape)}`)
  return substitutions([x, y], options).x
}

const determinants = matrixFunction<undefined, "y">({
  name: "determinant",
  parts: () => ({ y: [] }),
  one: ([a], [[n]]) => ({ y: det(a!, n) }),
  vjp: ({ y: dy }, { y }, [a]) => [scaleBy(transpose(inverse(a!)), mul(dy, y))],
})
/** Determinants of square matrices [..., n, n] → [...]. The gradient goes through the inverse: it needs regular matrices. */
export const determinant = (a: Tensor): Tensor => determinants([squares("determinant", a)], undefined).y

/** det A = sign · exp(logAbs). */
export interface SignedLog {
  /** -1, 0 or 1. */
  readonly sign: Tensor
  /** -∞ for a singular matrix. */
  readonly logAbs: Tensor
}
const signedLogs = matrixFunction<undefined, "sign" | "logAbs">({
  name: "slogdet",
  parts: () => ({ sign: [], logAbs: [] }),
  one: ([a], [[n]]) => signAndLogDeterminant(a!, n),
  vjp: ({ logAbs: dy }, _out, [a]) => [scaleBy(transpose(inverse(a!)), dy)],
})
/** Sign and logarithm of the determinants of [..., n, n], for those beyond the range of their dtype. */
export const slogdet = (a: Tensor): SignedLog => signedLogs([squares("slogdet", a)], undefined)

const factors = matrixFunction<undefined, "l">({
  name: "cholesky",
  parts: ([n]) => ({ l: n! }),
  one: ([a], [[n]]) => ({ l: factorCholesky(a!, n) }),
  vjp: ({ l: dl }, { l }) => {
    // Murray, "Differentiation of the Cholesky decomposition" (2016), eq. 10: L⁻ᵀ·Φ(Lᵀ·dL)·L⁻¹, with Φ the lower half and half the diagonal.
    const inner = matmul(transpose(l), dl)
    const half = mul(add(tril(inner), tril(inner, -1)), 0.5)
    const left = substitutions([l, half], { transposed: true }).x
    return [both(substitutions([l, left], { side: "right" }).x)]
  },
})
/**
 * Lower factors L of symmetric positive definite matrices [..., n, n], A = L·Lᵀ. Only the lower half of A is read; the
 * gradient is that of a symmetric A, spread over both halves. Another matrix is an error when the result is read.
 */
export const cholesky = (a: Tensor): Tensor => factors([squares("cholesky", a)], undefined).l

const inversesOfFactors = matrixFunction<undefined, "y">({
  name: "choleskyInverse",
  parts: ([n]) => ({ y: n! }),
  one: ([l], [[n]]) => ({ y: invertCholesky(l!, n) }),
  vjp: ({ y: dy }, { y }, [l]) => {
    const da = neg(matmul(matmul(y, dy), y))
    return [tril(matmul(add(da, transpose(da)), tril(l!)))]
  },
})
/** A⁻¹ from the lower Cholesky factors L [..., n, n] of A. */
export const choleskyInverse = (l: Tensor): Tensor => inversesOfFactors([squares("choleskyInverse", l)], undefined).y

const upperFactors = matrixFunction<undefined, "u">({
  name: "inverseUpperFactor",
  parts: ([n]) => ({ u: n! }),
  one: ([h], [[n]]) => ({ u: upperFactor(h!, n) }),
})
/** Upper factors U of the inverse of symmetric positive definite H [..., n, n], H⁻¹ = Uᵀ·U, as GPTQ needs them. No gradient. */
export const inverseUpperFactor = (h: Tensor): Tensor => upperFactors([squares("inverseUpperFactor", h)], undefined).u
