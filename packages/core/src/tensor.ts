import { bytesOf, decode, dtypes, type DType, type TypedArray } from "./dtype.ts"
import type { Buffer, Device } from "./device.ts"
import { fail, showShape } from "./errors.ts"
import type { Expr } from "./expr.ts"
import type { Combine } from "./kernel.ts"
import { release, track } from "./memory.ts"
import type { Lifted, Shorthands } from "./methods.ts"
import { sizeOf, type Shape } from "./shape.ts"

/** What a routine gets for one source: its stored elements (bits for f16 and bf16). */
export interface Host { readonly data: TypedArray; readonly shape: Shape; readonly dtype: DType }

/**
 * What an op means; exactly one of these.
 * - `scalar`: one expression from the sources' values at the same coordinates (sources have the result's shape).
 * - `move`: a coordinate map, output coordinates → source coordinates; no arithmetic.
 * - `at`: the value at given output coordinates, reading sources wherever it likes (gather, pad, cat, decode, arange).
 * - `reduce`: joins all values along `axes`; the result keeps those axes with size 1.
 * - `expand`: a composite, defined by plainer ops.
 * - `routine`: host code on whole arrays (sort, Cholesky); returns the stored elements of the result.
 * - `leaf`: has a value from outside: a buffer, an argument of a compiled function, or a run-time scalar; a `literal`
 *   carries its elements, and they are not part of a program's structure.
 */
export type Meaning<A> =
  | { scalar(src: readonly Expr[], node: Tensor, attrs: A): Expr }
  | { move(out: readonly Expr[], node: Tensor, attrs: A): Expr[] }
  | { at(read: (source: number, coords: readonly Expr[]) => Expr, out: readonly Expr[], node: Tensor, attrs: A): Expr }
  | { reduce: Combine; axes(attrs: A): readonly number[] }
  | { expand(src: readonly Tensor[], attrs: A): Tensor }
  | { routine(src: readonly Host[], node: Tensor, attrs: A): TypedArray }
  | { leaf: "buffer" | "input" | "scalar" }
  | { leaf: "literal"; elements(attrs: A): TypedArray }

/** How the operands of a composite's tuned kernel are addressed. */
export interface Template<A> {
  dims(node: Tensor, attrs: A): Record<string, number>
  /** Operands by name. */
  loads(node: Tensor, attrs: A): Record<string, TemplateLoad>
  /** The same as a wider composite that includes what a source is made by, where that is such: devices that have a kernel for it are given that. */
  wider?(node: Tensor, attrs: A): Tensor | undefined
  /** Two of these that have so many first sources in common may be computed side by side, where a device can (see `pairs` of Device). */
  paired?(attrs: A): number
}
/** One operand of a tuned kernel: the sizes of its coordinates, and its value there, made of the sources' values. */
export type TemplateLoad =
  | { source: number; shape: Shape; coords(i: readonly Expr[]): Expr[] }
  | { sources: readonly number[]; shape: Shape; at(read: (source: number, coords: readonly Expr[]) => Expr, i: readonly Expr[]): Expr }

export interface Op<A = unknown> {
  readonly name: string
  readonly meaning: Meaning<A>
  /** Shape and dtype of the result; throws at the call. */
  result(src: readonly Tensor[], attrs: A): { shape: Shape; dtype: DType }
  /** Gradients of the sources from the gradient of the result. Composites without one are differentiated through their expansion. */
  vjp?(dy: Tensor, out: Tensor, src: readonly Tensor[], attrs: A): (Tensor | null)[]
  readonly template?: Template<A>
  /**
   * The op over many examples at once, for `vmap`: sources that are `mapped` have them along one more axis in front, as
   * will the result. For ops that keep a tuned kernel this way (see `along`); otherwise, or where it gives undefined, their
   * meaning is mapped. A result that is the same for all examples may go without the axis.
   */
  batched?(src: readonly Tensor[], mapped: readonly boolean[], attrs: A, op: Op<A>): Tensor | undefined
  /**
   * Of an op that replaces part of its first source: where the element of the second source at `coords` goes, as coordinates
   * of the result. What no element goes to is the first source's, so it may be done in that one's memory.
   */
  into?(read: (source: number, coords: readonly Expr[]) => Expr, coords: readonly Expr[], node: Tensor, attrs: A): Expr[]
  /** Costs next to nothing, so it may be computed again by every consumer instead of being stored (casts, decodes, constants). */
  readonly cheap?: boolean
  /** A movement that keeps every element's row-major position (reshape). */
  readonly flat?: boolean
  /** A composite whose expansion is computed again for the backward pass, once the gradient of the result is known. */
  readonly recomputed?: boolean
}

/** The elements that a literal carries. */
export function elementsOf(t: Tensor): TypedArray | undefined {
  const { meaning } = t.op
  return "elements" in meaning ? meaning.elements(t.attrs) : undefined
}

/** Device memory that holds a tensor's value. */
export interface Storage { readonly device: Device; readonly buffer: Buffer; readonly bytes: number }

let nextId = 0

/** Refuses what is not a tensor. */
export function checkTensor(op: string, x: unknown, hint?: string): asserts x is Tensor {
  if (!(x instanceof Tensor)) fail("value", op, `needs a tensor, got ${describe(x)}`, hint)
}
/** What a value is, in words. */
export const describe = (x: unknown): string => (x === null ? "null" : x instanceof Tensor ? "a tensor" : Array.isArray(x) ? "an array" : typeof x === "object" ? "an object" : typeof x === "number" ? `the number ${x}` : typeof x)

/**
 * A value of known shape and dtype: either stored, or a node of a lazy graph that is computed when a value is read.
 * Immutable. Methods are the functions of `ops` with the tensor as first argument.
 */
// oxlint-disable-next-line typescript/no-unsafe-declaration-merging -- methods.ts installs them, and its test compares
export interface Tensor extends Lifted, Shorthands {}
export class Tensor {
  readonly id = nextId++
  readonly op: Op
  readonly attrs: unknown
  readonly shape: Shape
  readonly dtype: DType
  /** Undefined for constants that neither a stored tensor nor a reading ties to a device yet. */
  readonly device: Device | undefined
  /** @internal */ sources: readonly Tensor[]
  /** @internal */ storage: Storage | undefined
  /** @internal */ disposed = false
  /** @internal When a walk over a graph last came by, see visits.ts. */ visited = 0
  /** @internal Smallest and largest element, known for integers that came from the host; index checks use it. */
  range: readonly [number, number] | undefined

  constructor(op: Op, sources: readonly Tensor[], attrs: unknown, shape: Shape, dtype: DType, device: Device | undefined) {
    this.op = op
    this.sources = sources
    this.attrs = attrs
    this.shape = shape
    this.dtype = dtype
    this.device = device
  }

  get rank(): number { return this.shape.length }
  get size(): number { return sizeOf(this.shape) }
  get bytes(): number { return this.size * bytesOf(this.dtype) }

  /** The elements in row-major order: f16 and bf16 as a Float32Array, bool as 0/1 in a Uint8Array. Computes them if needed. */
  async data(): Promise<TypedArray> {
    const raw = await this.raw()
    if (this.dtype !== "f16" && this.dtype !== "bf16") return raw
    return Float32Array.from(raw, (bits) => decode(this.dtype, bits))
  }
  /**
   * The stored elements, without conversion (bits for f16 and bf16). Into an array of that kind and size, if one is given:
   * whoever reads in a loop need not leave an array behind each time.
   */
  async raw(into?: TypedArray): Promise<TypedArray> {
    const { array } = dtypes[this.dtype]
    if (into !== undefined && (into[Symbol.toStringTag] !== array.name || into.length !== this.size)) fail("shape", "raw", `${this.dtype}${showShape(this.shape)} takes ${this.size} elements of a ${array.name}, got ${into.length} of a ${into[Symbol.toStringTag]}`)
    await reader.realize([this])
    const { device, buffer } = this.storage!
    const bytes = await device.read(buffer, this.bytes, into && new Uint8Array(into.buffer as ArrayBuffer, into.byteOffset, into.byteLength))
    return into ?? new array(bytes.buffer, bytes.byteOffset, this.size)
  }
  /** The value of a tensor with one element. */
  async item(): Promise<number> {
    if (this.size !== 1) fail("shape", "item", `needs one element, got ${showShape(this.shape)}`, "read data()")
    return (await this.data())[0]!
  }
  /** The elements as nested arrays. */
  async tolist(): Promise<Nested> {
    const flat = await this.data()
    const build = (axis: number, at: number, step: number): Nested => {
      if (axis === this.rank) return this.dtype === "bool" ? flat[at] !== 0 : flat[at]!
      const inner = step / this.shape[axis]!
      return Array.from({ length: this.shape[axis]! }, (_, i) => build(axis + 1, at + i * inner, inner))
    }
    return build(0, 0, this.size)
  }

  /** Releases the memory. The tensor, and whatever is not yet computed from it, cannot be used afterwards. */
  dispose(): void {
    this.disposed = true
    if (this.storage !== undefined) release(this)
    this.sources = []
  }
  [Symbol.dispose](): void { this.dispose() }

  toString(): string {
    const state = this.disposed ? "disposed" : this.storage !== undefined ? "stored" : `= ${this.op.name}(${this.sources.map((s) => showShape(s.shape)).join(", ")})`
    return `Tensor ${this.dtype}${showShape(this.shape)} on ${this.device?.name ?? "any device"} (${state})`
  }
  [Symbol.for("nodejs.util.inspect.custom")](): string { return this.toString() }
}

export type Nested = number | boolean | Nested[]

/** Set by `realize.ts`; breaks the cycle between a tensor and the machinery that computes it. */
export const reader: { realize(tensors: readonly Tensor[]): Promise<void> } = {
  realize: () => fail("internal", "realize", "not installed"),
}

/** Makes the result node of `op`; shapes and dtypes are checked here, nothing is computed. */
export function apply<A>(op: Op<A>, src: readonly Tensor[], attrs: A): Tensor {
  let device: Device | undefined
  for (const s of src) {
    checkTensor(op.name, s)
    if (s.disposed) fail("disposed", op.name, `operand ${s.dtype}${showShape(s.shape)} was disposed`, "keep it until its last use, or return it from the scope")
    if (s.device === undefined) continue
    if (device === undefined) device = s.device
    else if (device !== s.device) fail("device", op.name, `operands live on ${device.name} and ${s.device.name}`, "move one with .to(device)")
  }
  const { shape, dtype } = op.result(src, attrs)
  return new Tensor(op as Op, src, attrs, shape, dtype, device)
}

const bufferOp: Op = { name: "buffer", meaning: { leaf: "buffer" }, result: () => fail("internal", "buffer", "has no sources") }

/** A tensor over memory that already holds its value. */
export function fromStorage(storage: Storage, shape: Shape, dtype: DType): Tensor {
  const t = new Tensor(bufferOp, [], undefined, shape, dtype, storage.device)
  adopt(t, storage)
  return t
}

/** Gives a tensor its memory, and by that its device. */
export function adopt(tensor: Tensor, storage: Storage): void {
  ;(tensor as { device: Device | undefined }).device = storage.device
  tensor.storage = storage
  track(tensor)
}
