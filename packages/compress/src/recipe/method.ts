import { denseWeight, fromBytes, quantizedWeight, uploadParts, type Format, type QuantizedOptions, type Tensor, type Weight } from "@thimble/core"
import { isLazy, type Json } from "@thimble/models"
import { factoredWeight, partsOf } from "../format/factored.ts"
import { hasOutliers, outliersApart } from "../format/outliers.ts"
import { permutedWeight } from "../format/permuted.ts"
import type { MatrixShape, Parts } from "../quantizer.ts"
import type { Fallback } from "../quantize/fallback.ts"
import type { Statistic } from "./statistic.ts"
import type { Surveyed } from "./survey.ts"

/** A matrix of a model, on the host. */
export interface Matrix {
  readonly path: string
  readonly shape: MatrixShape
  /** Row-major. */
  readonly values: Float32Array
}

/** What calibration says of the inputs of a matrix: what its observers kept, by their names, of so many tokens. */
export interface Statistics {
  readonly tokens: number
  of(observer: Statistic): Tensor
  /** The same, or undefined where that was not observed. */
  known(observer: Statistic): Tensor | undefined
}

/** A matrix as it will be stored: in a format, or as plain elements (part `values`). */
export interface Stored extends QuantizedOptions {
  readonly format: Format | "f32" | "f16" | "bf16"
  readonly parts: Parts
  /** Column order[i] of the matrix is stored at place i; as they are unless given. */
  readonly order?: Int32Array
  /** Two matrices stand for it, [rows, rank] and [rank, columns], both in the format: parts `left.…` and `right.…`. */
  readonly rank?: number
}

/** What a method made of a matrix. */
export interface Rounded {
  readonly stored: Stored
  /** What was done differently from what was asked. */
  readonly fallbacks?: readonly Fallback[]
  /** Added to the module's bias [rows]. */
  readonly bias?: Float32Array
  /** The share of weights that are zero, where some were left out. */
  readonly zeros?: number
}

/** Where a matrix would go. */
export interface Target {
  readonly format: Stored["format"]
  readonly bytes: number
  /** As in {@link Stored}. */
  readonly rank?: number
}

export interface RoundOptions {
  readonly signal?: AbortSignal
}

/**
 * What is done with one matrix: rounding it to a format, leaving out elements of it, or nothing. An immutable value that
 * can be written down: `toJSON` and the method's entry in a table of methods are inverse to one another.
 */
export interface Method {
  readonly name: string
  toJSON(): Json
  /** What it asks of calibration; nothing, and no data is needed. */
  readonly observes?: readonly Statistic[]
  /** Factors that make rounding easier, moved from the inputs' columns into what gives them. */
  readonly balance?: Balance
  /** What it has to know of all of its matrices before the first is changed. */
  readonly survey?: Survey
  /** What a matrix of a shape will be stored in; undefined, as it is; or why it cannot. */
  target(shape: MatrixShape): Target | { readonly unfit: string } | undefined
  /** Undefined leaves the matrix as it is. */
  round(matrix: Matrix, statistics: Statistics | undefined, options: RoundOptions): Promise<Rounded | undefined> | Rounded | undefined
}

/** A look at a model as it was, after which a method knows what it does. */
export interface Survey {
  /** Whether it needs calibration data. */
  readonly data: boolean
  /** The method that treats the matrices. */
  look(surveyed: Surveyed): Promise<Method>
}

/** The survey of a method that another one is made around, if it has one. */
export const wrapped = ({ survey }: Method, around: (method: Method) => Method): Pick<Method, "survey"> =>
  survey === undefined ? {} : { survey: { data: survey.data, look: async (surveyed) => around(await survey.look(surveyed)) } }

/** Factors of channels: inputs are divided by them and columns multiplied, so that the model stays what it was. */
export interface Balance {
  readonly name: string
  toJSON(): Json
  readonly observes: readonly Statistic[]
  /** Factors, one per column, for matrices that read the same input. */
  scales(matrices: readonly Matrix[], statistics: Statistics): Promise<Float64Array> | Float64Array
}

/** The weight of what is stored, on the current device. */
export function weightOf({ format, parts, order, rank, ...options }: Stored, shape: MatrixShape): Weight {
  if (rank !== undefined) return factoredWeight(weightOf({ format, parts: partsOf("left", parts), ...options }, [shape[0], rank]), weightOf({ format, parts: partsOf("right", parts), ...options }, [rank, shape[1]]))
  if (typeof format !== "string" && hasOutliers(parts)) return outliersApart(format, shape, parts, options)
  const tensors = uploadParts(parts), weight = typeof format === "string" ? denseWeight(tensors.values!) : quantizedWeight(format, shape, tensors, options)
  return order === undefined ? weight : permutedWeight(weight, order)
}

/** A matrix as plain elements. */
export async function matrixOf(path: string, from: Weight): Promise<Matrix> {
  const weight = isLazy(from) ? await from.load() : from, dense = weight.dense()
  try {
    return { path, shape: weight.shape, values: (await dense.data()) as Float32Array }
  } finally {
    // What is no part of the weight was made for this.
    if (!Object.values(weight.parts()).includes(dense)) dense.dispose()
    if (weight !== from) for (const t of Object.values(weight.parts())) t.dispose()
  }
}

/** Elements of a host array on the current device. */
export const onDevice = (values: Float32Array, shape: readonly number[]): Tensor => fromBytes(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), shape, "f32")
