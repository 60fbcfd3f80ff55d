import type { Buffer, Call, Device, Executable } from "./device.ts"
import { dtypes, encode, f16Value, bf16Value, f32Bits, f32FromBits, toInteger, bf16Bits, f16Bits, type DType, type Scalar, type TypedArray } from "./dtype.ts"
import { fail } from "./errors.ts"
import { saturate, type Expr, type ExprOp } from "./expr.ts"
import type { Combine, Kernel } from "./kernel.ts"
import { sizeOf } from "./shape.ts"
import { flatten } from "./walk.ts"

/**
 * The reference device: a plain interpreter of kernels, and by that the definition of what they mean. f32 results are
 * rounded after every operation; sums and products are carried in f64 and rounded once, so that it is an oracle.
 */
export function referenceDevice(): Device {
  return {
    name: "reference",
    limits: { bufferBytes: 2 ** 31 },
    accepts: () => false,
    alloc: (bytes): Memory => ({ bytes, data: new ArrayBuffer(Math.ceil(bytes / 8) * 8) }),
    free: () => {},
    write: (buffer, data, at = 0) => new Uint8Array((buffer as Memory).data).set(data, at),
    read(buffer, bytes = buffer.bytes, into = new Uint8Array(bytes)) {
      into.set(new Uint8Array((buffer as Memory).data, 0, bytes))
      return Promise.resolve(into.subarray(0, bytes))
    },
    prepare: (kernels) => Promise.resolve(kernels.map((kernel) => ({ kernel, run: interpreter(kernel) }) as Prepared)),
    run: (calls) => calls.forEach(runCall),
    close: () => Promise.resolve(),
  }
}

interface Memory extends Buffer { readonly data: ArrayBuffer }
interface Prepared extends Executable { run(parameters: TypedArray[], scalars: readonly number[]): void }

function runCall({ executable, buffers, scalars }: Call): void {
  const { kernel, run } = executable as Prepared
  run(buffers.map((b, i) => new dtypes[kernel.parameters[i]!].array((b as Memory).data)), scalars)
}

/** Value of an expression at coordinates, of elements as typed arrays store them. */
export type Evaluate = (coords: Int32Array, parameters: TypedArray[], scalars: readonly number[], acc: number) => number

function interpreter(kernel: Kernel): Prepared["run"] {
  const size = sizeOf(kernel.shape)
  if (kernel.kind === "template") return fail("internal", kernel.name, "the reference device runs expansions only")
  const rank = kernel.shape.length
  const evaluate = evaluator(kernel.body)
  if (kernel.kind === "map") {
    const placeOf = kernel.into === undefined ? undefined : evaluator(kernel.into)
    return (parameters, scalars) => {
      const out = parameters[0]!, coords = new Int32Array(rank)
      for (let i = 0; i < size; i++, advance(coords, kernel.shape, 0)) out[placeOf?.(coords, parameters, scalars, 0) ?? i] = encode(kernel.dtype, evaluate(coords, parameters, scalars, 0))
    }
  }
  const { over, combine } = kernel
  const finish = evaluator(kernel.epilogue)
  const count = sizeOf(over), type = kernel.body.type
  return (parameters, scalars) => {
    const out = parameters[0]!, coords = new Int32Array(rank + over.length)
    for (let i = 0; i < size; i++, advance(coords, kernel.shape, 0)) {
      let total = identity(combine, type)
      for (let j = 0; j < count; j++, advance(coords, over, rank)) total = join(combine, type, total, evaluate(coords, parameters, scalars, 0))
      out[i] = encode(kernel.dtype, finish(coords, parameters, scalars, narrow(type, total)))
    }
  }
}

/** Steps coordinates to the next in row-major order, wrapping to zero. */
function advance(coords: Int32Array, shape: readonly number[], first: number): void {
  for (let a = shape.length - 1; a >= 0; a--) {
    if (++coords[first + a]! < shape[a]!) return
    coords[first + a] = 0
  }
}

/** What a reduction of nothing gives. */
export function identity(combine: Combine, type: Scalar): number {
  if (combine === "add") return 0
  if (combine === "mul") return 1
  return type === "i32" ? -2147483648 : type === "u32" || type === "bool" ? 0 : -Infinity
}

function join(combine: Combine, type: Scalar, a: number, b: number): number {
  if (combine === "max") return Math.max(a, b)
  if (combine === "add") return type === "i32" || type === "u32" ? narrow(type, a + b) : a + b
  return type === "i32" || type === "u32" ? narrow(type, Math.imul(a, b)) : a * b
}

const narrow = (type: Scalar, x: number): number =>
  type === "f32" ? Math.fround(x) : type === "i32" ? x | 0 : type === "u32" ? x >>> 0 : x

/** An expression as a function on the host: a straight-line program over its shared values, sources first, each computed once. */
export function evaluator(root: Expr): Evaluate {
  const all = flatten([root])
  const place = new Map(all.map((e, i) => [e, i]))
  const values = new Float64Array(all.length)
  const steps = all.map((e) => {
    const [a, b, c] = e.src.map((s) => place.get(s)!) as [number, number, number]
    return { e, a, b, c, rule: e.op in rules ? (rules as Record<string, Rule>)[e.op]! : undefined }
  })
  return (coords, parameters, scalars, acc) => {
    for (let i = 0; i < steps.length; i++) {
      const { e, a, b, c, rule } = steps[i]!
      let v: number
      if (rule !== undefined) v = narrow(e.type, rule(values[a]!, values[b]!, values[c]!, e))
      else if (e.op === "index") v = coords[e.value]!
      else if (e.op === "const") v = e.value
      else if (e.op === "load") v = element(parameters[e.value]!, e.dtype!, values[a]!)
      else if (e.op === "scalar") v = narrow(e.type, scalars[e.value]!)
      else v = acc
      values[i] = v
    }
    return values[all.length - 1]!
  }
}

function element(data: TypedArray, dtype: DType, at: number): number {
  const stored = data[at]
  if (stored === undefined) fail("internal", "load", `element ${at} of ${data.length}`)
  return dtype === "f16" ? f16Value(stored) : dtype === "bf16" ? bf16Value(stored) : stored
}

type Rule = (a: number, b: number, c: number, e: Expr) => number
const integer = (e: Expr): boolean => e.type === "i32" || e.type === "u32"
type Computed = Exclude<ExprOp, "const" | "index" | "scalar" | "acc" | "load">

const rules = {
  neg: (a) => -a,
  abs: (a) => Math.abs(a),
  sqrt: Math.sqrt, exp: Math.exp, log: Math.log, sin: Math.sin, cos: Math.cos, atan: Math.atan, tanh: Math.tanh,
  erf: (a) => erf(a),
  floor: Math.floor, ceil: Math.ceil, trunc: Math.trunc,
  round: (a) => roundHalfEven(a),
  not: (a, _b, _c, e) => (e.type === "bool" ? (a ? 0 : 1) : ~a),
  cast: (a, _b, _c, e) => (e.type === "bool" ? (a !== 0 ? 1 : 0) : integer(e) && !integer(e.src[0]!) ? saturate(e.type, a) : a),
  bitcast: (a, _b, _c, e) => (e.type === "f32" ? f32FromBits(a) : e.src[0]!.type === "f32" ? f32Bits(a) : a),
  store: (a, _b, _c, e) => (e.dtype === "f16" ? f16Value(f16Bits(a)) : e.dtype === "bf16" ? bf16Value(bf16Bits(a)) : toInteger(e.dtype!, a)),
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b, _c, e) => (integer(e) ? Math.imul(a, b) : a * b),
  div: (a, b, _c, e) => (integer(e) ? (b === 0 ? 0 : Math.trunc(a / b)) : a / b),
  rem: (a, b, _c, e) => (integer(e) && b === 0 ? 0 : a % b),
  min: (a, b) => Math.min(a, b),
  max: (a, b) => Math.max(a, b),
  pow: (a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : Math.pow(a, b)),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << b,
  shr: (a, b, _c, e) => (e.type === "u32" ? a >>> b : a >> b),
  lt: (a, b) => Number(a < b),
  le: (a, b) => Number(a <= b),
  eq: (a, b) => Number(a === b),
  select: (a, b, c) => (a ? b : c),
} satisfies Record<Computed, Rule>

export function roundHalfEven(x: number): number {
  if (!(Math.abs(x) < 2 ** 51)) return Math.abs(x) < 2 ** 52 ? x + Math.sign(x) * 2 ** 52 - Math.sign(x) * 2 ** 52 : x
  // Between 2^52 and 2^53 there is no place for a fraction: the sum is rounded, halves to even.
  const r = x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52
  return r === 0 ? Math.sign(x) * r : r
}

/** Error function in f64, |error| < 1e-15: Maclaurin series below 2.5, continued fraction (Lentz) of erfc above. */
export function erf(x: number): number {
  const a = Math.abs(x)
  if (!(a < 6)) return Number.isNaN(x) ? NaN : Math.sign(x)
  if (a < 2.5) {
    let term = a, sum = a
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= -(a * a) / n
      sum += term / (2 * n + 1)
      if (sum === 0) return x
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * sum
  }
  let f = 0
  for (let k = 60; k > 0; k--) f = k / 2 / (a + f)
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + f))
}
