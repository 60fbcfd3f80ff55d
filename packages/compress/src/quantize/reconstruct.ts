// Codes that are searched for step by step on a device, so that the outputs of a matrix change little.
import { compile, fail, linalg, realize, showShape, tensor, tensorsOf, type Tensor } from "@thimble/core"
import type { MatrixShape, SolvableFormat } from "../quantizer.ts"
import { integerGrids, type Grid, type GridOptions, type Grids } from "./grid.ts"
import type { Solution } from "./solved.ts"

export interface ReconstructionOptions {
  /** Ends it, between two steps. */
  readonly signal?: AbortSignal
  /** Ten times or so: steps made, and the loss so far. */
  readonly onProgress?: (progress: { readonly step: number; readonly steps: number; readonly loss: number }) => void
}
/** Integers on grids of their own, of so many neighbours along a row (the whole `row` unless given), or as a format stores them. */
export type GridChoice = (GridOptions & { readonly group?: number | "row"; readonly format?: undefined }) | { readonly format: SolvableFormat }

/** `storedSolution` and `solvedWeight` store it. */
export interface LearnedRounding extends Solution {
  /** ŵ [rows, columns]. */
  readonly values: Float64Array
  /** (w − ŵ)·H·(w − ŵ)ᵀ of each row, and the same rounded to nearest: nowhere less. */
  readonly loss: Float64Array
  readonly plainLoss: Float64Array
}

/** What codes there are, and for how many neighbours. */
export interface Setting {
  readonly grids: Grids & Required<Pick<Grids, "step">>
  readonly size: number
  readonly groups: number
  readonly least: number
  readonly most: number
  /** Whether zero has the same code in every group. */
  readonly symmetric: boolean
}

/** What is searched for a matrix: weights and grids on the host, rows of whole groups. */
export interface Problem {
  readonly weights: Float64Array
  readonly shape: MatrixShape
  readonly setting: Setting
  /** Grids that nearest codes are on, [rows, groups]. */
  readonly starts: readonly Grid[]
  /** What each row loses when it is rounded to nearest. */
  readonly plainLoss: Float64Array
  /** What losses on the device are multiples of. */
  readonly unit: number
}
/** The same on the device: weights [rows, groups, size], H in units, steps and zeros of the grids [rows, groups, 1]. */
export type Given = Readonly<Record<"weights" | "hessian" | "scales" | "zeros", Tensor>>

/** What codes are laid out for: the grid of each group, and the value that each weight is rounded from. */
export interface Choice {
  grid(group: number): Grid
  value(row: number, column: number, grid: Grid): number
}
/** A way to search. */
export interface Search<S, F = unknown> {
  /** What is learned, as it begins. */
  readonly state: S
  /** What it asks for besides, and stays. */
  readonly fixed?: F
  /** What a step is told, by how many of all are made (0 … 1). */
  numbers(share: number): readonly number[]
  /** What becomes of the state, and the loss so far. */
  step(state: S, given: Given & F, ...numbers: Tensor[]): { readonly state: S; readonly loss: Tensor }
  choose(state: S): Promise<Choice>
}

type Tensors = Readonly<Record<string, Tensor>>
type Step<S, G> = ((state: S, given: G, ...numbers: readonly number[]) => Promise<{ readonly state: S; readonly loss: Tensor }>) & { dispose(): void }
/**
 * Runs a search, and takes of each row what it found or the nearest codes, whichever loses less in float64: no row is worse than
 * rounded to nearest. Nothing stays on the device.
 */
export async function reconstruct<S, F extends Tensors = Tensors>(
  op: string, weights: Float32Array | Float64Array, shape: MatrixShape, hessian: Float64Array, { steps, signal, onProgress, ...options }: ReconstructionOptions & { readonly steps: number } & GridChoice, begin: (problem: Problem) => Search<S, F>,
): Promise<LearnedRounding> {
  const [rows, columns] = shape
  check(op, weights, shape, hessian, steps)
  const setting = settingOf(op, options as GridChoice, columns), { size, groups } = setting
  const w = Float64Array.from(weights), starts: Grid[] = []
  for (let r = 0; r < rows; r++) for (let g = 0; g < groups; g++) starts.push(setting.grids.fit(w.slice(r * columns + g * size, r * columns + Math.min(columns, (g + 1) * size))))
  const nearest = lay(w, shape, setting, { grid: (at) => starts[at]!, value: (r, c) => w[r * columns + c]! }), plainLoss = lossOf(w, nearest.values, hessian, shape)
  const order = Int32Array.from({ length: columns }, (_, i) => i), groupOf = order.map((j) => Math.floor(j / size))
  if (w.length === 0) return { ...nearest, groupOf, order, loss: plainLoss, plainLoss }

  const unit = meanDiagonal(hessian, columns), search = begin({ weights: w, shape, setting, starts, plainLoss, unit })
  const given = { ...upload(w, hessian, starts, setting, shape, unit), ...search.fixed } as Given & F
  let { state } = search
  // What a search keeps is a tree of tensors, whichever.
  const step = compile((state: S, given: Given & F, ...numbers: Tensor[]) => search.step(state, given, ...numbers), { donate: [0] }) as unknown as Step<S, Given & F>
  try {
    await realize(...tensorsOf(state))
    for (let i = 0; i <= steps; i++) {
      signal?.throwIfAborted()
      // The last step only looks at where the one before it came to.
      const { state: next, loss } = await step(state, given, ...search.numbers(i / steps))
      state = next
      if (onProgress && (i === steps || i % Math.ceil(steps / 10) === 0)) onProgress({ step: i, steps, loss: await loss.item() * unit })
      loss.dispose()
    }
    const found = lay(w, shape, setting, await search.choose(state))
    return { ...best(nearest, found, plainLoss, lossOf(w, found.values, hessian, shape), shape), groupOf, order }
  } finally {
    step.dispose()
    for (const t of [...Object.values(given), ...tensorsOf(state)]) if (!t.disposed) t.dispose()
  }
}

function check(op: string, weights: Float32Array | Float64Array, [rows, columns]: MatrixShape, hessian: Float64Array, steps: number): void {
  if (weights.length !== rows * columns) fail("shape", op, `${weights.length} weights for ${showShape([rows, columns])}`)
  if (hessian.length !== columns * columns) fail("shape", op, `H has ${hessian.length} elements for ${columns} columns`)
  if (!(Number.isInteger(steps) && steps >= 1)) fail("value", op, `steps must be a whole number ≥ 1, got ${steps}`)
  for (const [what, values] of [["weight", weights], ["element of H", hessian]] as const) {
    const wrong = values.findIndex((v) => !Number.isFinite(v))
    if (wrong >= 0) fail("numeric", op, `${what} at row ${Math.floor(wrong / columns)}, column ${wrong % columns} is ${values[wrong]}`, "calibrate with inputs that do not overflow")
  }
}

function settingOf(op: string, options: GridChoice, columns: number): Setting {
  const { format } = options, grids = options.format === undefined ? integerGrids(options) : options.format.grids, { step } = grids ?? {}
  if (grids === undefined || step === undefined) return fail("value", op, `${format!.name} has no evenly spaced codes in groups of a row`, "int does")
  const group = options.format === undefined ? options.group ?? "row" : options.format.group
  if (group !== "row" && group !== Infinity && !(Number.isInteger(group) && group >= 1)) fail("value", op, `group must be a whole number ≥ 1, got ${String(group)}`)
  const size = Math.max(1, group === "row" ? columns : Math.min(group, columns)), far = 2 ** 40, { zero } = grids.fit(Float64Array.of(1))
  return { grids: { ...grids, step }, size, groups: Math.ceil(columns / size), least: grids.code(-far, 1, zero), most: grids.code(far, 1, zero), symmetric: zero === grids.fit(Float64Array.of(-1)).zero }
}

type Laid = Pick<LearnedRounding, "codes" | "scales" | "zeros" | "values">

/** Codes and values of a matrix on grids. */
function lay(w: Float64Array, [rows, columns]: MatrixShape, { grids, size, groups }: Setting, choice: Choice): Laid {
  const codes = new Uint8Array(w.length), values = new Float64Array(w.length), scales = new Float64Array(rows * groups), zeros = new Uint8Array(rows * groups)
  for (let r = 0; r < rows; r++)
    for (let g = 0, at = r * groups; g < groups; g++, at++) {
      const grid = choice.grid(at), { scale, zero } = grid
      scales[at] = scale
      zeros[at] = zero
      for (let c = g * size; c < Math.min(columns, (g + 1) * size); c++) {
        const i = r * columns + c, q = grids.code(choice.value(r, c, grid), scale, zero)
        codes[i] = q
        values[i] = grids.value(q, scale, zero)
      }
    }
  return { codes, scales, zeros, values }
}

/** (w − ŵ)·H·(w − ŵ)ᵀ of each row. */
function lossOf(w: Float64Array, values: Float64Array, hessian: Float64Array, [rows, columns]: MatrixShape): Float64Array {
  const { multiplyAdd, rowMajor } = linalg, change = w.map((v, i) => v - values[i]!), pushed = new Float64Array(w.length), out = new Float64Array(rows)
  multiplyAdd(rowMajor(pushed, columns), rowMajor(change, columns), rowMajor(hessian, columns), rows, columns, columns)
  change.forEach((v, i) => (out[Math.floor(i / columns)]! += v * pushed[i]!))
  return out
}

/** Row by row whichever loses less. */
function best(plain: Laid, learned: Laid, plainLoss: Float64Array, learnedLoss: Float64Array, [rows, columns]: MatrixShape): Laid & Pick<LearnedRounding, "loss" | "plainLoss"> {
  const { codes, scales, zeros, values } = plain, loss = plainLoss.slice(), groups = scales.length / rows
  for (let r = 0; r < rows; r++) {
    if (!(learnedLoss[r]! < plainLoss[r]!)) continue
    loss[r] = learnedLoss[r]!
    codes.set(learned.codes.subarray(r * columns, (r + 1) * columns), r * columns)
    values.set(learned.values.subarray(r * columns, (r + 1) * columns), r * columns)
    scales.set(learned.scales.subarray(r * groups, (r + 1) * groups), r * groups)
    zeros.set(learned.zeros.subarray(r * groups, (r + 1) * groups), r * groups)
  }
  return { codes, scales, zeros, values, loss, plainLoss }
}

const meanDiagonal = (h: Float64Array, n: number): number => Array.from({ length: n }, (_, i) => h[i * n + i]! / n).reduce((a, b) => a + b, 0) || 1

/** Rows that end with a whole group: what is added is zero, and H does not see it. H is in units, for its size could leave f32. */
function upload(w: Float64Array, h: Float64Array, starts: readonly Grid[], { groups, size }: Setting, [rows, columns]: MatrixShape, unit: number): Given {
  const width = groups * size, weights = new Float32Array(rows * width), hessian = new Float32Array(width * width)
  for (let r = 0; r < rows; r++) weights.set(w.subarray(r * columns, (r + 1) * columns), r * width)
  for (let i = 0; i < columns; i++) for (let j = 0; j < columns; j++) hessian[i * width + j] = h[i * columns + j]! / unit
  const each = [rows, groups, 1]
  return {
    weights: tensor(weights, { shape: [rows, groups, size] }), hessian: tensor(hessian, { shape: [width, width] }),
    scales: tensor(Float32Array.from(starts, (g) => g.scale), { shape: each }), zeros: tensor(Float32Array.from(starts, (g) => g.zero), { shape: each }),
  }
}
