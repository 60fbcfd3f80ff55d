import { fail, showShape } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"
import { wait, type Arithmetic, type Steps } from "./arithmetic.ts"
import { factorDamped } from "./damping.ts"
import type { Fallback } from "./fallback.ts"
import { refuseNonFinite } from "./exact.ts"

/** Weights that are to be replaced by others so that outputs change little. */
export interface Problem {
  /** Who asks, for errors. */
  readonly op: string
  readonly weights: Float32Array | Float64Array
  readonly shape: MatrixShape
  /** Order in which columns are replaced: as `given`, or the largest diagonal element of H first. */
  readonly order: "given" | "activity"
  /** Added to the diagonal of H, in units of its mean. */
  readonly damping: number
  /** Columns whose corrections are applied to the others together. */
  readonly block: number
}

/** A block of columns as it is before any of it is replaced. */
export interface Block {
  /** The place of its first column. */
  readonly start: number
  readonly width: number
  /** Its weights as corrected for all blocks before it, [rows, width]. */
  readonly weights: Float64Array
  /** What an error of 1 in each column costs at least, whatever the later columns do: the diagonal of V. */
  readonly cost: Float64Array
}

/** What replaces the weights. Columns are named by their place in the order. */
export interface Rule {
  begin?(block: Block): void
  /** How many columns from this place on it wants to see corrected for all before this place; 0 for none. */
  ahead?(place: number): number
  /** Those columns of a row, the first at this place; `cost` as in {@link Block}. */
  see?(row: number, place: number, values: Float64Array, cost: Float64Array): void
  /**
   * Replaces the first few of these weights: a column's in consecutive rows, the first of which is `row`, corrected for all
   * columns before it. Several at once, so that numbers pass in memory.
   */
  replace(row: number, place: number, weights: Float64Array, count: number): void
}

/** What a rule may know before anything is replaced. */
export interface Ready {
  /** The column at each place. */
  readonly order: Int32Array
  /** The weights, with zeros in dead columns. */
  readonly weights: Float32Array | Float64Array
}

export interface Solved {
  /** What replaces the weights, [rows, columns]. */
  readonly values: Float64Array
  /** (w − ŵ)·H·(w − ŵ)ᵀ of each row, with H damped: Σ over columns of the squared, scaled corrections. */
  readonly loss: Float64Array
  /** The column at each place of the order in which they were replaced. */
  readonly order: Int32Array
  /** What was done differently from what was asked, in order. */
  readonly fallbacks: readonly Fallback[]
  /** The damping that was used. */
  readonly damping: number
}

/** Rows that are solved side by side, so that their sums do not wait for one another. */
const lanes = 4

/**
 * Replaces the rows of a matrix column by column, and makes up for what each costs with those that follow (Frantar et al.,
 * arXiv 2210.17323 and 2301.00774). With H + λI = V·Vᵀ, V upper triangular, and errors δ = w − ŵ of the columns so far,
 * the best the others can do is to move by −δ·V[before, after]·V[after, after]⁻¹. Between blocks that is what
 * the arithmetic computes, without the inverse of H; within one, the inverse U of its own triangle gives the published
 * updates, e = (target − ŵ)/Uᵢᵢ and wⱼ −= e·Uᵢⱼ. The same result whatever the block, but for rules that ask for blocks.
 */
export function* solve(problem: Problem, arithmetic: Arithmetic, ruleFor: (ready: Ready) => Rule): Steps<Solved> {
  const { op, shape: [rows, n], block } = problem
  check(problem)
  const diagonal = yield* wait(arithmetic.diagonal()), fallbacks: Fallback[] = []
  const dead = [...diagonal.keys()].filter((j) => diagonal[j] === 0)
  let w = problem.weights
  refuseNonFinite(op, "weight", w, n)
  if (dead.length > 0) {
    w = w.slice()
    for (const j of dead) for (let r = 0; r < rows; r++) w[r * n + j] = 0
    fallbacks.push({ kind: "dead columns", columns: dead })
  }
  const order = Int32Array.from({ length: n }, (_, i) => i), active = (j: number): number => diagonal[j]! || 1
  if (problem.order === "activity") order.sort((a, b) => active(b) - active(a) || a - b)
  const factored = yield* factorDamped(arithmetic, order, block, problem.damping, dead), { factor, damping } = factored
  fallbacks.push(...factored.fallbacks)
  try {
    const rule = ruleFor({ order, weights: w }), values = new Float64Array(rows * n), loss = new Float64Array(rows)
    const panel = new Float64Array(rows * Math.min(block, n))
    for (let start = 0; start < n; start += block) {
      const width = Math.min(block, n - start), own = panel.subarray(0, rows * width)
      const moved = start === 0 ? undefined : yield* wait(factor.correction(start))
      for (let r = 0, p = 0; r < rows; r++)
        for (let i = 0; i < width; i++, p++) own[p] = w[r * n + order[start + i]!]! + (moved === undefined ? 0 : moved[p]!)
      replaceBlock(start, width, own, factor.inverse(start), rule, loss)
      for (let r = 0, p = 0; r < rows; r++)
        for (let i = 0; i < width; i++, p++) {
          const at = r * n + order[start + i]!, value = own[p]!
          values[at] = value
          own[p] = w[at]! - value
        }
      if (start + width < n) yield* wait(factor.record(start, own))
    }
    return { values, loss, order, fallbacks, damping }
  } finally {
    factor.dispose()
  }
}

function check({ op, weights, shape: [rows, n], block, damping }: Problem): void {
  if (weights.length !== rows * n) fail("shape", op, `${weights.length} weights for ${showShape([rows, n])}`)
  if (!(Number.isInteger(block) && block >= 1)) fail("value", op, `block must be a whole number ≥ 1, got ${block}`)
  if (!(damping >= 0)) fail("value", op, `damping must be at least 0, got ${damping}`)
}

/** Replaces the columns of one block, `weights` [rows, width], in place. */
function replaceBlock(start: number, width: number, weights: Float64Array, u: Float64Array, rule: Rule, loss: Float64Array): void {
  const rows = weights.length / width, cost = Float64Array.from({ length: width }, (_, i) => 1 / u[i * width + i]!)
  rule.begin?.({ start, width, weights, cost })
  const seen = new Float64Array(width), from = new Int32Array(width)
  // Element i of lane l is at i·lanes + l.
  const x = new Float64Array(width * lanes), e = new Float64Array(width * lanes), own = new Float64Array(lanes), lost = new Float64Array(lanes)
  /** Corrects columns first..last for the errors of all before `to`. */
  const correct = (first: number, last: number, to: number): void => {
    for (let i = first; i < last; i++) {
      if (from[i] === to) continue
      const known = from[i]!
      if (i + 4 <= last && from[i + 1] === known && from[i + 2] === known && from[i + 3] === known) {
        correctFour(x, i * lanes, e, u, i, width, known, to)
        from[i + 1] = from[i + 2] = from[i + 3] = to
      } else correctOne(x, i * lanes, e, u, i, width, known, to)
      from[i] = to
    }
  }
  for (let r = 0; r < rows; r += lanes) {
    const count = Math.min(lanes, rows - r)
    for (let l = 0; l < count; l++) for (let i = 0, p = (r + l) * width; i < width; i++) x[i * lanes + l] = weights[p + i]!
    from.fill(0)
    lost.fill(0)
    for (let i = 0; i < width; i++) {
      const ahead = rule.ahead?.(start + i) ?? 0
      if (ahead > 0) {
        const to = Math.min(width, i + ahead)
        correct(i, to, i)
        for (let l = 0; l < count; l++) {
          for (let j = i; j < to; j++) seen[j - i] = x[j * lanes + l]!
          rule.see?.(r + l, start + i, seen.subarray(0, to - i), cost.subarray(i, to))
        }
      }
      // Four columns at a time share the errors so far; what is left of them follows.
      if (i % 4 === 0) correct(i, Math.min(width, i + 4), i)
      const at = i * lanes, unit = cost[i]!
      if (from[i]! < i) correctOne(x, at, e, u, i, width, from[i]!, i)
      for (let l = 0; l < lanes; l++) own[l] = x[at + l]!
      rule.replace(r, start + i, own, count)
      for (let l = 0; l < lanes; l++) {
        const value = own[l]!, error = (x[at + l]! - value) * unit
        e[at + l] = error
        x[at + l] = value
        lost[l]! += error * error
      }
    }
    for (let l = 0; l < count; l++) {
      for (let i = 0, p = (r + l) * width; i < width; i++) weights[p + i] = x[i * lanes + l]!
      loss[r + l]! += lost[l]!
    }
  }
}

/** A column of all lanes: x −= Σ e·U over errors from..to. */
function correctOne(x: Float64Array, at: number, e: Float64Array, u: Float64Array, column: number, width: number, from: number, to: number): void {
  let a = x[at]!, b = x[at + 1]!, c = x[at + 2]!, d = x[at + 3]!
  for (let j = from, q = from * lanes, p = from * width + column; j < to; j++, q += lanes, p += width) {
    const f = u[p]!
    a -= f * e[q]!
    b -= f * e[q + 1]!
    c -= f * e[q + 2]!
    d -= f * e[q + 3]!
  }
  x[at] = a
  x[at + 1] = b
  x[at + 2] = c
  x[at + 3] = d
}

/** The same for four neighbours: sixteen sums that stay in registers. */
function correctFour(x: Float64Array, at: number, e: Float64Array, u: Float64Array, column: number, width: number, from: number, to: number): void {
  let a0 = x[at]!, a1 = x[at + 1]!, a2 = x[at + 2]!, a3 = x[at + 3]!, b0 = x[at + 4]!, b1 = x[at + 5]!, b2 = x[at + 6]!, b3 = x[at + 7]!
  let c0 = x[at + 8]!, c1 = x[at + 9]!, c2 = x[at + 10]!, c3 = x[at + 11]!, d0 = x[at + 12]!, d1 = x[at + 13]!, d2 = x[at + 14]!, d3 = x[at + 15]!
  let q = (from * lanes) | 0, p = (from * width + column) | 0
  const end = (to * lanes) | 0
  while (q < end) {
    const e0 = e[q]!, e1 = e[(q + 1) | 0]!, e2 = e[(q + 2) | 0]!, e3 = e[(q + 3) | 0]!
    const a = u[p]!
    a0 -= a * e0; a1 -= a * e1; a2 -= a * e2; a3 -= a * e3
    const b = u[(p + 1) | 0]!
    b0 -= b * e0; b1 -= b * e1; b2 -= b * e2; b3 -= b * e3
    const c = u[(p + 2) | 0]!
    c0 -= c * e0; c1 -= c * e1; c2 -= c * e2; c3 -= c * e3
    const d = u[(p + 3) | 0]!
    d0 -= d * e0; d1 -= d * e1; d2 -= d * e2; d3 -= d * e3
    q = (q + lanes) | 0
    p = (p + width) | 0
  }
  x[at] = a0; x[at + 1] = a1; x[at + 2] = a2; x[at + 3] = a3; x[at + 4] = b0; x[at + 5] = b1; x[at + 6] = b2; x[at + 7] = b3
  x[at + 8] = c0; x[at + 9] = c1; x[at + 10] = c2; x[at + 11] = c3; x[at + 12] = d0; x[at + 13] = d1; x[at + 14] = d2; x[at + 15] = d3
}
