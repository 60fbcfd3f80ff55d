import type { DType } from "./dtype.ts"
import { fail, showShape } from "./errors.ts"
import { checkFormat, decodeParts, partBytes, uploadParts, withTables, type EncodeOptions, type Encoded, type Format } from "./format.ts"
import { castTo } from "./ops/elementwise.ts"
import { take } from "./ops/indexing.ts"
import { linear } from "./ops/matmul.ts"
import { quantizedMatmul } from "./ops/quantized.ts"
import type { Composed } from "./tree.ts"
import type { Tensor } from "./tensor.ts"

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
  if (activations !== "f32" && activations !== "int8") fail("value", op, `activations must be f32 or int8, got ${String(activations)}`)
}

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

export interface QuantizedOptions {
  /**
   * What products see of the other operand: `f32` exactly, or `int8`, rounded per 32 neighbours as llama.cpp does,
   * which makes products of few rows run on integers, several times faster.
   */
  readonly activations?: "f32" | "int8"
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

/** A weight over parts that are already encoded (read from a file). */
export function quantizedWeight(format: Format, shape: readonly [number, number], stored: Readonly<Record<string, Tensor>>, options: QuantizedOptions = {}): Weight {
  checkMatrix("quantizedWeight", shape)
  checkWay("quantizedWeight", options)
  checkFormat(format)
  const parts = withTables(format, stored)
  const encoded: Encoded = { format, shape, names: Object.keys(parts) }
  const tensors = Object.values(parts)
  const dense = (): Tensor => decodeParts(encoded, tensors)
  return {
    form: `${format.name}[${shape.join()}] ${options.activations ?? "f32"}`,
    shape,
    bytes: partBytes(format, parts),
    storage: format,
    apply: (x) => (options.activations === "int8" ? quantizedMatmul(x, tensors, encoded) : linear(x, dense())),
    rows: (ids) => take(dense(), ids, 0),
    dense,
    parts: () => parts,
    withParts: (p) => quantizedWeight(format, shape, p, options) as never,
  }
}
