import { checkDType, dtypes, encode, isFloat, isInteger, scalarOf, type DType, type TypedArray } from "../dtype.ts"
import { currentDevice, type Device } from "../device.ts"
import { fail } from "../errors.ts"
import { add, cast, constant, mul, store } from "../expr.ts"
import { checkShape, sizeOf, type Shape } from "../shape.ts"
import { apply, fromStorage, type Nested, type Op, type Tensor } from "../tensor.ts"
import { storageFor, storedSize } from "../writer.ts"

export interface CreateOptions {
  /** Element type; from numbers the default is f32, from booleans bool, from a typed array its own. */
  readonly dtype?: DType
  readonly shape?: Shape
  /** The current device unless given. */
  readonly device?: Device
}

/**
 * A tensor from numbers, nested arrays or a typed array (copied). Nested arrays give the shape; `shape` reshapes.
 * A Uint16Array with dtype f16 or bf16 is taken as bits.
 */
export function tensor(values: Nested | readonly Nested[] | TypedArray, options: CreateOptions = {}): Tensor {
  const flat: (number | boolean)[] = []
  let shape: number[] = []
  let data: TypedArray
  let dtype: DType
  if (ArrayBuffer.isView(values)) {
    const own = ownDType(values as TypedArray)
    dtype = checkDType("tensor", options.dtype ?? own)
    shape = [(values as TypedArray).length]
    const bits = dtypes[dtype].array.name === kindOf(values as TypedArray)
    data = bits ? (values as TypedArray) : encodeAll(values as TypedArray, dtype)
  } else {
    shape = shapeOfNested(values as Nested, flat)
    dtype = checkDType("tensor", options.dtype ?? (flat.length > 0 && flat.every((v) => typeof v === "boolean") ? "bool" : "f32"))
    data = encodeAll(flat.map(Number), dtype)
  }
  if (options.shape !== undefined && sizeOf(checkShape("tensor", options.shape)) !== data.length)
    fail("shape", "tensor", `${data.length} values do not fit [${options.shape.join(", ")}]`)
  return fromBytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), options.shape ?? shape, dtype, options.device, rangeOf(data, dtype))
}

/** What kind of typed array it is, also of a subclass (Node's Buffer) or from another realm. */
const kindOf = (values: TypedArray): string => values[Symbol.toStringTag]

const owners = new Map(Object.entries(dtypes).filter(([d]) => d !== "f16" && d !== "bf16" && d !== "bool").map(([d, { array }]) => [array.name, d as DType]))
function ownDType(values: TypedArray): DType {
  return owners.get(kindOf(values)) ?? fail("dtype", "tensor", `cannot take a ${values.constructor.name}`)
}

function encodeAll(values: ArrayLike<number>, dtype: DType): TypedArray {
  const out = new dtypes[dtype].array(new ArrayBuffer(values.length * dtypes[dtype].bytes))
  for (let i = 0; i < values.length; i++) out[i] = encode(dtype, values[i]!)
  return out
}

function rangeOf(data: TypedArray, dtype: DType): readonly [number, number] | undefined {
  if (!isInteger(dtype) || data.length === 0) return undefined
  let low = data[0]!, high = low
  for (const v of data) {
    if (v < low) low = v
    if (v > high) high = v
  }
  return [low, high]
}

function shapeOfNested(values: Nested, flat: (number | boolean)[]): number[] {
  if (!Array.isArray(values)) {
    if (typeof values !== "number" && typeof values !== "boolean") fail("value", "tensor", `needs numbers, got ${typeof values}`)
    flat.push(values)
    return []
  }
  let inner: number[] | undefined
  for (const v of values) {
    const s = shapeOfNested(v, flat)
    if (inner !== undefined && String(inner) !== String(s)) fail("shape", "tensor", `rows differ in shape, [${inner.join(", ")}] and [${s.join(", ")}]`)
    inner = s
  }
  return [values.length, ...(inner ?? [])]
}

/** A tensor over a copy of stored elements (bits for f16 and bf16), little-endian, row-major. */
export function fromBytes(bytes: Uint8Array, shape: Shape, dtype: DType, device: Device = currentDevice(), range?: readonly [number, number]): Tensor {
  const need = storedSize("fromBytes", shape, dtype)
  if (bytes.byteLength !== need) fail("shape", "fromBytes", `${dtype}[${shape.join(", ")}] needs ${need} bytes, got ${bytes.byteLength}`)
  const storage = storageFor("fromBytes", shape, dtype, device)
  device.write(storage.buffer, bytes)
  const t = fromStorage(storage, shape, dtype)
  t.range = range
  return t
}

const fullOp: Op<{ shape: Shape; value: number; dtype: DType }> = {
  name: "full",
  cheap: true,
  meaning: { at: (_read, _out, _node, { value, dtype }) => constant(scalarOf(dtype), value) },
  result: (_, { shape, dtype }) => ({ shape, dtype }),
  vjp: () => [],
}
/** A tensor of one value. Costs no memory until it is read. */
export function full(shape: Shape, value: number, dtype: DType = "f32"): Tensor {
  if (typeof value !== "number") fail("value", "full", `needs a number, got ${typeof value}`)
  return apply(fullOp, [], { shape: checkShape("full", shape), value: checkDType("full", dtype) === "bool" ? Number(value !== 0) : value, dtype })
}
export const zeros = (shape: Shape, dtype: DType = "f32"): Tensor => full(shape, 0, dtype)
export const ones = (shape: Shape, dtype: DType = "f32"): Tensor => full(shape, 1, dtype)
export const zerosLike = (x: Tensor): Tensor => full(x.shape, 0, x.dtype)
export const onesLike = (x: Tensor): Tensor => full(x.shape, 1, x.dtype)

const arangeOp: Op<{ n: number; start: number; step: number; dtype: DType }> = {
  name: "arange",
  cheap: true,
  meaning: {
    at: (_read, [i], _node, { start, step, dtype }) => {
      const t = scalarOf(dtype)
      return store(add(mul(cast(i!, t), constant(t, step)), constant(t, start)), dtype)
    },
  },
  result: (_, { n, dtype }) => ({ shape: [n], dtype }),
  vjp: () => [],
}
/** start, start+step, … below (or above, for a negative step) end. i32 of whole numbers, f32 of others, unless given. */
export function arange(start: number, end?: number, step = 1, dtype?: DType): Tensor {
  const [from, to] = end === undefined ? [0, start] : [start, end]
  if (step === 0 || !Number.isFinite(step)) fail("value", "arange", `step must be finite and not 0, got ${step}`)
  for (const bound of [from, to]) if (!Number.isFinite(bound)) fail("value", "arange", `bounds must be finite numbers, got ${String(bound)}`)
  const type = dtype ?? ([from, to, step].every(Number.isInteger) ? "i32" : "f32")
  return apply(arangeOp, [], { n: Math.max(0, Math.ceil((to - from) / step)), start: from, step, dtype: checkDType("arange", type) })
}
/** `n` evenly spaced values from start to end, both included. */
export function linspace(start: number, end: number, n: number, dtype: DType = "f32"): Tensor {
  if (!Number.isInteger(n) || n < 0) fail("value", "linspace", `needs a whole number of points, got ${n}`)
  for (const bound of [start, end]) if (!Number.isFinite(bound)) fail("value", "linspace", `bounds must be finite numbers, got ${String(bound)}`)
  if (!isFloat(checkDType("linspace", dtype))) fail("dtype", "linspace", `needs a float type, got ${dtype}`, "arange counts in whole numbers")
  return apply(arangeOp, [], { n, start, step: n > 1 ? (end - start) / (n - 1) : 0, dtype })
}
