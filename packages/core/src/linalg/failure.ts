import { ThimbleError, type ErrorCode } from "../errors.ts"

/** A matrix without the result asked for. {@link batched} adds which matrix of the batch it was. */
export class MatrixFailure extends ThimbleError {
  /** Position in the batch; 0 for a single matrix. */
  matrix = 0

  constructor(code: ErrorCode, op: string, problem: string, hint?: string) {
    super(code, op, problem, hint)
    this.name = new.target.name
  }

  inMatrix(matrix: number, count: number): this {
    this.matrix = matrix
    if (count > 1) this.message += ` (matrix ${matrix} of ${count})`
    return this
  }
}

/** Cholesky met a pivot that is not above zero. */
export class NotPositiveDefinite extends MatrixFailure {
  /** Row and column of the pivot. */
  readonly pivot: number
  /** What was left on the diagonal there. */
  readonly value: number

  constructor(op: string, pivot: number, value: number) {
    super("numeric", op, `the matrix must be positive definite, pivot ${pivot} is ${value}`, "add a larger multiple of the identity?")
    this.pivot = pivot
    this.value = value
  }
}

/** A pivot is exactly zero, so the system has no single solution. */
export class Singular extends MatrixFailure {
  readonly pivot: number

  constructor(op: string, pivot: number) {
    super("numeric", op, `the matrix must have full rank, pivot ${pivot} is 0`, "leastSquares and pseudoInverse take any rank")
    this.pivot = pivot
  }
}

/** An iteration reached its limit. */
export class NotConverged extends MatrixFailure {
  /** How many values were still coupled to a neighbour. */
  readonly remaining: number

  constructor(op: string, remaining: number) {
    super("numeric", op, `the iteration did not converge, ${remaining} values are left`)
    this.remaining = remaining
  }
}

/** An input holds NaN or an infinity. */
export class NonFinite extends MatrixFailure {
  /** Flat index of the first one. */
  readonly index: number
  readonly value: number

  constructor(op: string, index: number, value: number) {
    super("value", op, `elements must be finite, element ${index} is ${value}`)
    this.index = index
    this.value = value
  }
}

/** No Hadamard matrix of this size is known to Thimble. */
export class UnfitSize extends MatrixFailure {
  readonly size: number
  /** Nearest usable size below. */
  readonly below: number
  /** Nearest usable size above. */
  readonly above: number

  constructor(op: string, size: number, below: number, above: number) {
    super("shape", op, `no Hadamard matrix of size ${size}`, `the nearest usable sizes are ${below} and ${above}`)
    this.size = size
    this.below = below
    this.above = above
  }
}
