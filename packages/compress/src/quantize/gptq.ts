import { fail, type Tensor } from "@thimble/core"
import type { MatrixShape, SolvableFormat } from "../quantizer.ts"
import { later, now, type Arithmetic, type Steps } from "./arithmetic.ts"
import { exact } from "./exact.ts"
import { integerGrids, type Grid, type GridOptions, type Grids } from "./grid.ts"
import { onDevice } from "./on-device.ts"
import { solve, type Block, type Ready, type Rule, type Solved } from "./solver.ts"

export interface SolverOptions {
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

/** Integers on grids of their own. */
export interface IntegerOptions extends SolverOptions, GridOptions {
  /** Neighbours that share a grid, in the order in which columns are rounded; the whole `row` unless given. */
  readonly group?: number | "row"
  readonly format?: undefined
}
/** Whatever a format stores. */
export interface FormatOptions extends SolverOptions {
  /** Its grids are used, in its groups. */
  readonly format: SolvableFormat
}
export type GptqOptions = IntegerOptions | FormatOptions

export interface GptqResult extends Solved {
  /** Codes [rows, columns], with 0 ≤ q < 2^bits, columns as they were given. */
  readonly codes: Uint8Array
  /** Grids [rows, groups]; of integers, ŵ = (q − zero) · scale. */
  readonly scales: Float64Array
  readonly zeros: Uint8Array
  /** Group of each column. */
  readonly groupOf: Int32Array
}

/**
 * Rounds the rows of a matrix so that its outputs, rather than its weights, change little (Frantar et al., arXiv
 * 2210.17323): columns are rounded one after the other, and what is lost is made up for by those that follow. All in
 * float64 on the host; the same result whatever the block, but for `stale` grids. `solvedWeight` stores the result.
 */
export const solveGptq = (weights: Float32Array | Float64Array, shape: MatrixShape, hessian: Float64Array, options: GptqOptions): GptqResult =>
  now(roundRows(weights, shape, exact("gptq", hessian, ...shape), options))

/**
 * {@link solveGptq} with the large products in f32, where H is: rounding within a block stays on the host, in float64. Codes differ
 * from those of float64 where a weight lies about midway between two, and by what follows from that.
 */
export const solveGptqOnDevice = (weights: Float32Array | Float64Array, shape: MatrixShape, hessian: Tensor, options: GptqOptions): Promise<GptqResult> =>
  later(roundRows(weights, shape, onDevice("gptq", hessian, ...shape), options))

function* roundRows(weights: Float32Array | Float64Array, shape: MatrixShape, arithmetic: Arithmetic, options: GptqOptions): Steps<GptqResult> {
  const [rows, n] = shape, { order = "given", damping = 0.01 } = options, setting = settingOf(options, n)
  let rounding: Rounding | undefined
  const solved = yield* solve({ op: "gptq", weights, shape, order, damping, block: setting.block }, arithmetic, (ready) => (rounding = roundingRule(weights, shape, setting, ready)))
  const { codes, scales, zeros, groupOf } = rounding ?? roundingRule(weights, [rows, n], setting, { order: solved.order, weights })
  return { ...solved, codes, scales, zeros, groupOf }
}

/** How the weights of a matrix are rounded. */
export interface RoundingSetting {
  readonly grids: Grids
  readonly when: "updated" | "stale" | "static"
  readonly whole: boolean
  /** Columns that share a grid. */
  readonly size: number
  readonly block: number
}

export function settingOf(options: GptqOptions, n: number): RoundingSetting {
  const { grids: when = "updated", block = 128 } = options, grids = options.format === undefined ? integerGrids(options) : gridsOf(options.format)
  const group = options.format === undefined ? options.group ?? "row" : options.format.group === Infinity ? "row" : options.format.group
  if (group !== "row" && !(Number.isInteger(group) && group >= 1)) fail("value", "gptq", `group must be a whole number ≥ 1, got ${String(group)}`)
  const whole = group === "row", size = whole ? Math.max(1, n) : Math.min(group, Math.max(1, n))
  if (when === "stale" && !whole && block % size !== 0 && size % block !== 0) fail("value", "gptq", `stale grids depend on blocks, and blocks of ${block} cut groups of ${size}`)
  // Blocks hold whole groups: grids then see what is corrected within them.
  return { grids, when, whole, size, block: when === "static" || whole || !(block >= 1) ? block : size >= block ? size : block - (block % size) }
}

function gridsOf(format: SolvableFormat): Grids {
  return format.grids ?? fail("value", "gptq", `${format.name} does not say how one value of a group is rounded`, "int, fp, nf4, fp4 and mx do, in groups of a row")
}

export interface Rounding extends Rule, Pick<GptqResult, "codes" | "scales" | "zeros" | "groupOf"> {}

/** Rounds each weight to the grid of its group. `given` are the weights with dead columns as they were. */
export function roundingRule(given: Float32Array | Float64Array, [rows, n]: MatrixShape, { grids, when, whole, size }: RoundingSetting, { order, weights }: Ready): Rounding {
  const count = whole ? 1 : Math.ceil(n / size), still = when === "static" && !whole
  const codes = new Uint8Array(rows * n), scales = new Float64Array(rows * count), zeros = new Uint8Array(rows * count), groupOf = new Int32Array(n)
  order.forEach((j, i) => (groupOf[j] = whole ? 0 : Math.floor((still ? j : i) / size)))
  const groupAt = order.map((j) => groupOf[j]!)
  const put = (at: number, { scale, zero }: Grid): void => {
    scales[at] = scale
    zeros[at] = zero
  }
  if (whole) for (let r = 0; r < rows; r++) put(r, grids.fit(Float64Array.from(given.subarray(r * n, (r + 1) * n))))
  if (still) for (let r = 0; r < rows; r++) for (let g = 0; g < count; g++) put(r * count + g, grids.fit(Float64Array.from(weights.subarray(r * n + g * size, r * n + Math.min(n, (g + 1) * size)))))
  const fitted = whole || still
  return {
    codes, scales, zeros, groupOf,
    ...(when === "stale" && !fitted && {
      begin({ start, width, weights: own }: Block) {
        for (let r = 0; r < rows; r++)
          for (let i = 0; i < width; i += size) put(r * count + groupAt[start + i]!, grids.fit(own.subarray(r * width + i, r * width + Math.min(width, i + size))))
      },
    }),
    ...(when === "updated" && !fitted && {
      ahead: (place: number) => (place % size === 0 ? size : 0),
      see: (row: number, place: number, values: Float64Array) => put(row * count + groupAt[place]!, grids.fit(values)),
    }),
    replace(row, place, own, lanes) {
      const column = order[place]!
      for (let l = 0, at = row * count + groupAt[place]!, to = row * n + column; l < lanes; l++, at += count, to += n) {
        const scale = scales[at]!, zero = zeros[at]!, code = grids.code(own[l]!, scale, zero)
        codes[to] = code
        own[l] = grids.value(code, scale, zero)
      }
    },
  }
}
