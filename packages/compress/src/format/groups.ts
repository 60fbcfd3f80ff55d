import { bytesOf, decode, dtypes, encode, expr, fail, type Expr, type Part, type PartReader } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"

/** Who shares a scale: so many neighbours along a row (the last of them may be fewer), a row, or the whole matrix. */
export type Group = number | "row" | "tensor"
/** What scales are stored in. */
export type ScaleType = "f32" | "f16" | "bf16"

export interface GroupOptions {
  /** Neighbours along a row that share a scale, the whole `row` (unless given), or the whole `tensor`. */
  readonly group?: Group
  /** What scales are stored in; f16 unless given. Codes are rounded with the scale as it is stored. */
  readonly scales?: ScaleType
}

/** Largest relative error of rounding to a type, half of its smallest positive number, and its largest one. */
export const precision: Readonly<Record<ScaleType, { readonly unit: number; readonly tiny: number; readonly least: number; readonly most: number }>> = {
  f32: { unit: 2 ** -24, tiny: 2 ** -150, least: 2 ** -126, most: 2 ** 128 * (1 - 2 ** -24) },
  f16: { unit: 2 ** -11, tiny: 2 ** -25, least: 2 ** -14, most: 65504 },
  bf16: { unit: 2 ** -8, tiny: 2 ** -134, least: 2 ** -126, most: 2 ** 128 * (1 - 2 ** -8) },
}

/** A scale as it is stored. */
export const storedAs = (type: ScaleType, scale: number): number => (type === "f32" ? Math.fround(scale) : decode(type, encode(type, scale)))

/** How groups lie in a matrix. */
export interface Grouping {
  /** Neighbours along a row, as a format counts them. */
  readonly size: number
  /** Stored bits of `each` group by element of long rows. */
  bits(each: number): number
  /** Groups by rows. */
  shape(shape: MatrixShape): MatrixShape
  count(shape: MatrixShape): number
  /** Calls `visit` for each run of a group: the whole of it, except where the whole matrix is one group. */
  each(shape: MatrixShape, visit: (group: number, from: number, to: number) => void): void
  /** An element's group in a part of theirs. */
  at(part: PartReader, name: string, row: Expr, column: Expr): Expr
  /** As part of a format's name. */
  readonly suffix: string
}

export function grouping(op: string, group: Group = "row"): Grouping {
  const whole = group === "row" || group === "tensor" || group === Infinity
  if (!whole && !(Number.isInteger(group) && group >= 1)) fail("value", op, `group must be a whole number ≥ 1, got ${group}`)
  const size = whole ? Infinity : group
  const perRow = (columns: number): number => (whole ? 1 : Math.ceil(columns / size))
  const shape = ([rows, columns]: MatrixShape): MatrixShape => (group === "tensor" ? [1, 1] : [rows, perRow(columns)])
  const { div, int } = expr
  return {
    size, shape,
    bits: (each) => (whole ? 0 : each / size),
    count: (s) => shape(s)[0] * shape(s)[1],
    each([rows, columns], visit) {
      if (group === "tensor") visit(0, 0, rows * columns)
      else
        for (let r = 0, g = 0, step = Math.min(size, columns); r < rows; r++)
          for (let i = 0, n = perRow(columns); i < n; i++, g++) visit(g, r * columns + i * step, Math.min(r * columns + (i + 1) * step, (r + 1) * columns))
    },
    at: (part, name, row, column) => part(name, group === "tensor" ? int(0) : row, whole ? int(0) : div(column, int(size))),
    suffix: group === "tensor" ? "t" : whole ? "" : `g${size}`,
  }
}

/** Largest magnitude of a run; refuses what is no number, with its place. */
export function largest(op: string, values: Float32Array, columns: number, from: number, to: number): number {
  let amax = 0
  for (let i = from; i < to; i++) {
    const a = Math.abs(values[i]!)
    if (!(a < Infinity)) fail("value", op, `row ${Math.floor(i / columns)}, column ${i % columns} is ${values[i]}`, "quantize finite weights")
    if (a > amax) amax = a
  }
  return amax
}

/** Scales of the groups of a matrix, while they are found. */
export interface Scales {
  readonly part: Part
  /** Stores the scale of a group and gives it as it is stored; refuses one with which `reach` steps are no f32. */
  put(group: number, scale: number, reach: number): number
}

export function newScales(op: string, dtype: ScaleType, shape: MatrixShape): Scales {
  const { array } = dtypes[dtype], data = new array(new ArrayBuffer(shape[0] * shape[1] * bytesOf(dtype)))
  return {
    part: { data, shape, dtype },
    put(group, scale, reach) {
      const stored = storedScale(op, dtype, scale, reach, () => `group ${group % shape[1]} of row ${Math.floor(group / shape[1])}`)
      data[group] = encode(dtype, stored)
      return stored
    },
  }
}

/** A scale as it is stored; refuses one with which `reach` steps are no f32. */
export function storedScale(op: string, dtype: ScaleType, scale: number, reach: number, who: () => string = () => "a group"): number {
  const stored = storedAs(dtype, scale)
  if (!Number.isFinite(Math.fround(stored * reach))) fail("value", op, `${who()} needs a scale of ${scale}, too large for ${dtype}`, dtype === "f16" ? "bf16 or f32 scales, or smaller weights" : "scale the weights down")
  return stored
}

/** Largest magnitude. */
export function peakOf(values: Float32Array | Float64Array): number {
  let amax = 0
  for (const v of values) amax = Math.max(amax, Math.abs(v))
  return amax
}

/** Scales of solved groups as a part. */
export function scalePart(op: string, dtype: ScaleType, scales: ArrayLike<number>, shape: MatrixShape): Part {
  const found = newScales(op, dtype, shape)
  for (let g = 0; g < scales.length; g++) found.put(g, scales[g]!, 1)
  return found.part
}
