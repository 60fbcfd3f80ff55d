import { fail, showShape } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"
import { wait, type Arithmetic, type Factor, type Steps } from "./arithmetic.ts"
import { factorDamped, type Fallback } from "./damping.ts"
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
  /** What replaces a weight, given the weight corrected for all columns before it. */
  replace(row: number, place: number, target: number): number
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
 * {@link Factor} computes, without the inverse of H; within one, the inverse U of its own triangle gives the published
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
      replaceBlock(start, width, own, factor.inverse(start), rule, loss, (r, i, value) => {
        const at = r * n + order[start + i]!
        values[at] = value
        own[r * width + i] = w[at]! - value
      })
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

/** Replaces the columns of one block. `weights` [rows, width] may be overwritten by `done`, at places that are done. */
function replaceBlock(start: number, width: number, weights: Float64Array, u: Float64Array, rule: Rule, loss: Float64Array, done: (row: number, i: number, value: number) => void): void {
  const rows = weights.length / width, cost = Float64Array.from({ length: width }, (_, i) => 1 / u[i * width + i]!)
  rule.begin?.({ start, width, weights, cost })
  // Column i of U along memory.
  const columns = new Float64Array(width * width)
  for (let i = 0; i < width; i++) for (let j = 0; j <= i; j++) columns[i * width + j] = u[j * width + i]!
  const seen = new Float64Array(width), from = new Int32Array(width)
  // Element i of lane l is at i·lanes + l.
  const x = new Float64Array(width * lanes), e = new Float64Array(width * lanes)
  for (let r = 0; r < rows; r += lanes) {
    const count = Math.min(lanes, rows - r)
    for (let l = 0; l < count; l++) for (let i = 0, p = (r + l) * width; i < width; i++) x[i * lanes + l] = weights[p + i]!
    from.fill(0)
    for (let i = 0; i < width; i++) {
      const ahead = rule.ahead?.(start + i) ?? 0
      if (ahead > 0) {
        const to = Math.min(width, i + ahead)
        for (let j = i; j < to; j++) {
          correct(x, j, e, columns, j * width, from[j]!, i)
          from[j] = i
        }
        for (let l = 0; l < count; l++) {
          for (let j = i; j < to; j++) seen[j - i] = x[j * lanes + l]!
          rule.see?.(r + l, start + i, seen.subarray(0, to - i), cost.subarray(i, to))
        }
      }
      correct(x, i, e, columns, i * width, from[i]!, i)
      for (let l = 0; l < count; l++) {
        const target = x[i * lanes + l]!, value = rule.replace(r + l, start + i, target), error = (target - value) * cost[i]!
        e[i * lanes + l] = error
        loss[r + l]! += error * error
        done(r + l, i, value)
      }
    }
  }
}

/** Column i of all lanes, corrected for the errors of columns from..to of the block: x −= Σ e·U. */
function correct(x: Float64Array, i: number, e: Float64Array, u: Float64Array, at: number, from: number, to: number): void {
  const p = i * lanes
  let a = x[p]!, b = x[p + 1]!, c = x[p + 2]!, d = x[p + 3]!
  for (let j = from, q = from * lanes; j < to; j++, q += lanes) {
    const f = u[at + j]!
    a -= f * e[q]!
    b -= f * e[q + 1]!
    c -= f * e[q + 2]!
    d -= f * e[q + 3]!
  }
  x[p] = a
  x[p + 1] = b
  x[p + 2] = c
  x[p + 3] = d
}
