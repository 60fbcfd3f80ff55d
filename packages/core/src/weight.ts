import type { DType } from "./dtype.ts"
import { fail, showShape } from "./errors.ts"
import { checkFormat, decodeParts, partBytes, uploadParts, withTables, type EncodeOptions, type Encoded, type Format } from "./format.ts"
import { customVjp } from "./grad.ts"
import { fromBytes } from "./ops/create.ts"
import { castTo, where } from "./ops/elementwise.ts"
import { take } from "./ops/indexing.ts"
import { linear } from "./ops/matmul.ts"
import { activationScales, quantizedMatmul, reachedBy, roundActivations, type ActivationGrid } from "./ops/quantized.ts"
import type { Composed } from "./tree.ts"
import { sparseMatmul } from "./ops/sparse.ts"
import { Tensor } from "./tensor.ts"

/**
 * A matrix [rows, columns] = [out, in], however it is stored. Modules hold weights and never ask what kind they are;
 * dense, quantized, sparse and adapted weights nest.
 */
export interface Weight extends Composed {
  readonly shape: readonly [rows: number, columns: number]
  /** Stored size. */
  readonly bytes: number
  /** What its parts, and nothing else, store the matrix in: a format, or a dtype (of the part `values`). Files ask for it. */
  readonly storage?: Format | DType
  /** What its products see of their other operand, if they do not see all of it. Files ask for it. */
  readonly activations?: Activations
  /** x · Wᵀ for x [..., columns]. */
  apply(x: Tensor): Tensor
  /** Rows by index: ids of any shape → [...ids, columns]. */
  rows(ids: Tensor): Tensor
  /** The matrix in f32. */
  dense(): Tensor
  parts(): Readonly<Record<string, Tensor>>
}

function checkMatrix(op: string, shape: readonly number[]): void {
  if (shape.length !== 2 || !shape.every((n) => Number.isSafeInteger(n) && n >= 0)) fail("shape", op, `a weight is [rows, columns] in whole numbers, got ${showShape(shape)}`)
}
function checkWay(op: string, { activations = "f32" }: QuantizedOptions): void {
  if (typeof activations === "object" && activations !== null) {
    if (activations.scale instanceof Tensor ? activations.scale.size !== 1 : !(activations.scale > 0 && activations.scale < Infinity)) fail("value", op, `activations need one scale > 0, got ${String(activations.scale)}`)
    const { zero = 0 } = activations
    if (!(Number.isInteger(zero) && zero >= -128 && zero <= 127)) fail("value", op, `the zero point of activations must be a whole number −128 … 127, got ${zero}`)
  } else if (!ways.includes(activations)) fail("value", op, `activations must be ${ways.join(", ")} or a scale, got ${String(activations)}`)
}
const ways: readonly unknown[] = ["f32", "int8", "int8PerToken"]

/** A weight stored as a plain tensor of any float type. */
export function denseWeight(values: Tensor): Weight {
  if (values.rank !== 2) fail("shape", "denseWeight", `needs two axes [out, in], got ${showShape(values.shape)}`)
  return {
    form: "dense",
    shape: values.shape as [number, number],
    bytes: values.bytes,
    storage: values.dtype,
    apply: (x) => linear(x, values),
    rows: (ids) => castTo(take(values, ids, 0), "f32"),
    dense: () => castTo(values, "f32"),
    parts: () => ({ values }),
    withParts: (parts) => denseWeight(parts.values!) as never,
  }
}

/**
 * What products see of their other operand: `f32`, exactly; or int8, which lets products of few rows run on integers, several
 * times faster. `int8` rounds 32 neighbours with one scale, as llama.cpp does; `int8PerToken` a row with one; both find it
 * each time. A scale that was found beforehand, over calibration data, serves all rows, with a zero point (−128 … 127) if
 * activations lie to one side: x̂ = (clamp(round(x/scale) + zero) − zero)·scale.
 */
export type Activations = "f32" | "int8" | "int8PerToken" | { readonly scale: number | Tensor; readonly zero?: number }

export interface QuantizedOptions {
  /** What products see of the other operand; f32, all of it, unless given. */
  readonly activations?: Activations
}

/** x as products see it, with a gradient that passes straight through the rounding, as far as codes reach. */
export function seenActivations(x: Tensor, activations: Activations): Tensor {
  if (activations === "f32") return x
  const wide = castTo(x, "f32"), grid = gridOf(wide, activations), value = roundActivations(wide, grid)
  // The largest of a row, or of a group, is reached by what is made of itself.
  const inside = typeof activations === "object" ? [reachedBy(wide, activations)] : []
  return customVjp((_x, value) => value!, (dy, _out, _x, _value, inside) => [inside === undefined ? dy : where(inside, dy, 0), null, ...(inside === undefined ? [] : [null])])(wide, value, ...inside)
}
/** The grid of rows of x; undefined for groups of 32. */
function gridOf(x: Tensor, activations: Exclude<Activations, "f32">): ActivationGrid | undefined {
  if (typeof activations === "object") return activations
  return activations === "int8" ? undefined : { scale: activationScales(x) }
}

/** A weight stored in a format: encodes host values [rows, columns] and puts the parts on the current device. */
export function quantizeWeight(format: Format, values: Float32Array, shape: readonly [number, number], options: QuantizedOptions & EncodeOptions = {}): Weight {
  checkMatrix("quantizeWeight", shape)
  checkWay("quantizeWeight", options)
  if (!(values instanceof Float32Array)) fail("value", "quantizeWeight", `values must be a Float32Array, got ${(values as object | undefined)?.constructor.name ?? "nothing"}`)
  if (values.length !== shape[0] * shape[1]) fail("shape", "quantizeWeight", `${values.length} values for ${showShape(shape)}`)
  const wrong = values.findIndex((v) => !Number.isFinite(v))
  if (wrong >= 0) fail("value", "quantizeWeight", `values must be finite, element ${wrong} is ${values[wrong]}`, "a weight that overflowed cannot be stored in few bits")
  const { importance } = options
  if (importance !== undefined && importance.length !== shape[1]) fail("shape", "quantizeWeight", `${importance.length} importances for ${shape[1]} columns`)
  checkFormat(format)
  return quantizedWeight(format, shape, uploadParts(format.encode(values, shape, options)), options)
}

/** The part in which a scale of activations goes with a weight. */
const scalePart = "activations.scale"

/** A weight over parts that are already encoded (read from a file). */
export function quantizedWeight(format: Format, shape: readonly [number, number], stored: Readonly<Record<string, Tensor>>, options: QuantizedOptions = {}): Weight {
  checkMatrix("quantizedWeight", shape)
  checkWay("quantizedWeight", options)
  checkFormat(format)
  const { activations: asked = "f32" } = options
  const { [scalePart]: kept, ...own } = stored, parts = withTables(format, own)
  // A scale is a tensor, so that layers whose scales differ share a program.
  const activations: Activations = typeof asked !== "object" ? asked : { ...asked, scale: kept ?? (typeof asked.scale === "number" ? scaleTensor(asked.scale, Object.values(parts)[0]) : asked.scale) }
  const encoded: Encoded = { format, shape, names: Object.keys(parts) }
  const tensors = Object.values(parts)
  const dense = (): Tensor => decodeParts(encoded, tensors)
  const all = typeof activations === "object" ? { ...parts, [scalePart]: activations.scale as Tensor } : parts
  const way = typeof activations === "object" ? `int8 on a grid ${activations.zero ?? 0}` : activations
  return {
    form: `${format.name}[${shape.join()}] ${way}`,
    shape,
    bytes: partBytes(format, all),
    storage: format,
    ...(activations !== "f32" && { activations }),
    apply: (x) => (activations === "f32" ? (format.sparse === undefined ? linear(x, dense()) : sparseMatmul(x, tensors, encoded)) : quantizedMatmul(x, tensors, encoded, gridOf(x, activations))),
    rows: (ids) => take(dense(), ids, 0),
    dense,
    parts: () => all,
    withParts: (p) => quantizedWeight(format, shape, p, { activations }) as never,
  }
}
const scaleTensor = (scale: number, beside: Tensor | undefined): Tensor => fromBytes(new Uint8Array(Float32Array.of(scale).buffer), [1], "f32", beside?.device)
