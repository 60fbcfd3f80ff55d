import { fail, linalg, showShape } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"
import { factorDamped, type Fallback } from "./damping.ts"
import { codeOn, fitGrid, type Grid, type GridOptions } from "./grid.ts"

export interface GptqOptions extends GridOptions {
  /** Neighbours that share a grid, in the order in which columns are rounded; the whole `row` unless given. */
  readonly group?: number | "row"
  /** Order in which columns are rounded: as `given` (unless given), or by `activity`, the largest diagonal element of H first. */
  readonly order?: "given" | "activity"
  /**
   * What the grid of a group is fitted to: its weights as corrected for all columns before it (`updated`, unless given), for
   * which the size of blocks does not matter; as corrected at the start of their block (`stale`), as the published code does;
   * or the weights themselves, in groups of neighbours whatever the order (`static`).
   */
  readonly grids?: "updated" | "stale" | "static"
  /** Added to the diagonal of H, in units of its mean; 0.01 unless given. */
  readonly damping?: number
  /** Columns whose corrections are applied to the others together; 128 unless given. */
  readonly block?: number
}

export interface GptqResult {
  /** Codes [rows, columns], with 0 ≤ q < 2^bits, columns as they were given. */
  readonly codes: Uint8Array
  /** Grids [rows, groups]: ŵ = (q − zero) · scale. */
  readonly scales: Float64Array
  readonly zeros: Uint8Array
  /** Group of each column. */
  readonly groupOf: Int32Array
  /** ŵ [rows, columns]. */
  readonly values: Float64Array
  /** (w − ŵ)·H·(w − ŵ)ᵀ of each row, with H damped: Σ over columns of the squared, scaled corrections. */
  readonly loss: Float64Array
  /** What was done differently from what was asked, in order. */
  readonly fallbacks: readonly Fallback[]
  /** The damping that was used. */
  readonly damping: number
}

/**
 * Rounds the rows of a matrix so that its outputs, rather than its weights, change little (Frantar et al., arXiv
 * 2210.17323): columns are rounded one after the other, and what is lost is made up for by those that follow. With
 * H + λI = V·Vᵀ, V upper triangular, column i is rounded at wᵢ + (Σ_{j<i} δⱼVⱼᵢ)/Vᵢᵢ for the errors δ = w − ŵ so far: the
 * same as the published updates with the factor of H⁻¹, without the inverse. All in float64; the same result whatever
 * the block, but for `stale` grids.
 */
export function gptq(weights: Float32Array | Float64Array, [rows, n]: MatrixShape, hessian: Float64Array, options: GptqOptions): GptqResult {
  const { bits, group = "row", order = "given", grids = "updated", damping = 0.01 } = options
  if (weights.length !== rows * n) fail("shape", "gptq", `${weights.length} weights for ${showShape([rows, n])}`)
  if (hessian.length !== n * n) fail("shape", "gptq", `H has ${hessian.length} elements for ${n} columns`)
  if (group !== "row" && !(Number.isInteger(group) && group >= 1)) fail("value", "gptq", `group must be a whole number ≥ 1, got ${String(group)}`)
  if (!(damping >= 0)) fail("value", "gptq", `damping must be at least 0, got ${damping}`)
  refuse("weight", weights, n)
  refuse("element of H", hessian, n)
  const top = 2 ** bits - 1, size = group === "row" ? Math.max(1, n) : Math.min(group, Math.max(1, n)), block = blockOf(options, size)
  const w = Float64Array.from(weights), h = Float64Array.from(hessian), fallbacks: Fallback[] = []
  const rowGrids = group === "row" ? Array.from({ length: rows }, (_, r) => fitGrid(w.subarray(r * n, (r + 1) * n), options)) : undefined
  const dead = Array.from({ length: n }, (_, j) => j).filter((j) => h[j * n + j] === 0)
  for (const j of dead) {
    h[j * n + j] = 1
    for (let r = 0; r < rows; r++) w[r * n + j] = 0
  }
  if (dead.length > 0) fallbacks.push({ kind: "dead columns", columns: dead })
  const count = Math.ceil(n / size), still = grids === "static" && !rowGrids
    ? Array.from({ length: rows * count }, (_, i) => fitGrid(w.subarray(Math.floor(i / count) * n + (i % count) * size, Math.floor(i / count) * n + Math.min(n, ((i % count) + 1) * size)), options)) : undefined
  const turn = Int32Array.from({ length: n }, (_, i) => i)
  if (order === "activity") turn.sort((a, b) => h[b * n + b]! - h[a * n + a]! || a - b)
  const { factor: v, damping: used, fallbacks: raised } = factorDamped(order === "activity" ? permuted(h, n, turn) : h, n, damping)
  fallbacks.push(...raised)

  const codes = new Uint8Array(rows * n), values = new Float64Array(rows * n), loss = new Float64Array(rows)
  const scales = new Float64Array(rows * count), zeros = new Uint8Array(rows * count)
  const groupOf = new Int32Array(n)
  turn.forEach((j, i) => (groupOf[j] = rowGrids ? 0 : still ? Math.floor(j / size) : Math.floor(i / size)))
  // Errors in the order of rounding; carried[r, c] = Σ δ·V over the columns of earlier blocks.
  const errors = new Float64Array(rows * n), carried = new Float64Array(rows * block), ahead = new Float64Array(block), local = new Float64Array(size), triangle = new Float64Array(block * block)
  const { multiplyAdd, rowMajor, viewFrom } = linalg
  for (let start = 0; start < n; start += block) {
    const width = Math.min(block, n - start)
    carried.fill(0)
    if (start > 0) multiplyAdd(rowMajor(carried, block), rowMajor(errors, n), viewFrom(rowMajor(v, n), 0, start), rows, width, start)
    // Column i of the triangle within the block, along memory.
    for (let i = 0; i < width; i++) for (let j = 0; j <= i; j++) triangle[i * block + j] = v[(start + j) * n + start + i]!
    for (let r = 0; r < rows; r++) {
      const at = r * n, delta = errors.subarray(at + start, at + start + width), sums = carried.subarray(r * block, r * block + width)
      const owed = (i: number, of: Float64Array): number => {
        let sum = sums[i]!
        for (let j = 0, t = i * block; j < i; j++) sum += of[j]! * triangle[t + j]!
        return sum / triangle[i * block + i]!
      }
      /** Weights of columns from..to of the block, if none were rounded from column `known` on. */
      const corrected = (known: number, from: number, to: number): Float64Array => {
        ahead.set(delta.subarray(0, known))
        for (let i = known; i < to; i++) ahead[i] = -owed(i, ahead)
        for (let i = from; i < to; i++) local[i - from] = w[at + turn[start + i]!]! - ahead[i]!
        return local.subarray(0, to - from)
      }
      let grid: Grid = rowGrids?.[r] ?? { scale: 1, zero: 0 }
      for (let i = 0; i < width; i++) {
        const j = turn[start + i]!, g = groupOf[j]!
        if (still) grid = still[r * count + g]!
        else if (!rowGrids && (start + i) % size === 0) grid = fitGrid(corrected(grids === "stale" ? 0 : i, i, Math.min(width, i + size)), options)
        const target = w[at + j]! + owed(i, delta), q = codeOn(grid, top, target), value = grid.scale * (q - grid.zero)
        codes[at + j] = q
        values[at + j] = value
        scales[r * count + g] = grid.scale
        zeros[r * count + g] = grid.zero
        delta[i] = w[at + j]! - value
        loss[r]! += ((target - value) * triangle[i * block + i]!) ** 2
      }
    }
  }
  return { codes, scales, zeros, groupOf, values, loss, fallbacks, damping: used }
}

/** Blocks hold whole groups: grids then see what is corrected within them. */
function blockOf({ block = 128, grids, group = "row" }: GptqOptions, size: number): number {
  if (!(Number.isInteger(block) && block >= 1)) fail("value", "gptq", `block must be a whole number ≥ 1, got ${block}`)
  if (grids === "stale" && group !== "row" && block % size !== 0 && size % block !== 0) fail("value", "gptq", `stale grids depend on blocks, and blocks of ${block} cut groups of ${size}`)
  return grids === "static" || group === "row" ? block : size >= block ? size : block - (block % size)
}

function permuted(h: Float64Array, n: number, turn: Int32Array): Float64Array {
  const out = new Float64Array(n * n)
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) out[i * n + j] = h[turn[i]! * n + turn[j]!]!
  return out
}

function refuse(what: string, values: Float32Array | Float64Array, columns: number): void {
  const wrong = values.findIndex((v) => !Number.isFinite(v))
  if (wrong >= 0) fail("numeric", "gptq", `${what} at row ${Math.floor(wrong / columns)}, column ${wrong % columns} is ${values[wrong]}`, "calibrate with inputs that do not overflow")
}
