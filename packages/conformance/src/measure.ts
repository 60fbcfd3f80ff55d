import { add, currentDevice, decode, grad, isFloat, mul, realize, scope, sizeOf, sum, tensor, useDevice, type Device, type DType, type Shape, type Tensor } from "@thimble/core"
import type { Bound, Row } from "./table/row.ts"
import { epsilon, makeAll, specsOf, uniform, type Made } from "./table/spec.ts"

/** A tensor read back. */
export interface Result { readonly shape: Shape; readonly dtype: DType; readonly numbers: Float64Array }

/** Builds tensors on a device, computes them as one program, and reads them. Nothing stays allocated. */
export async function evaluate(device: Device, build: () => Promise<readonly (readonly Tensor[])[]>): Promise<Result[][]> {
  const outer = currentDevice()
  useDevice(device)
  try {
    let results: Result[][] = []
    await scope(async () => {
      const groups = await build()
      await realize(...groups.flat())
      results = await Promise.all(groups.map((g) => Promise.all(g.map(read))))
    })
    return results
  } finally {
    useDevice(outer)
  }
}
async function read(t: Tensor): Promise<Result> {
  const raw = await t.raw()
  return { shape: t.shape, dtype: t.dtype, numbers: Float64Array.from(raw, (v) => decode(t.dtype, v)) }
}

/** The results of a row for one set of arguments. */
export async function outputsOf(row: Row, args: unknown, float?: DType): Promise<readonly Tensor[]> {
  return callWith(row, makeAll(args, (spec) => spec.make(float)))
}
async function callWith(row: Row, made: unknown): Promise<readonly Tensor[]> {
  const out = await (row.call as (args: unknown) => ReturnType<Row["call"]>)(made)
  return Array.isArray(out) ? (out as readonly Tensor[]) : [out as Tensor]
}

/** Fixed numbers of a tensor's shape. */
function numbersLike(t: Tensor, seed: number): Tensor {
  const random = uniform(seed)
  return tensor(Float64Array.from({ length: t.size }, () => random() * 2 - 1), { shape: t.shape, dtype: t.dtype })
}
/** Σ over the float results of their product with fixed numbers; undefined if there is none. */
export function lossOf(outputs: readonly Tensor[]): Tensor | undefined {
  const parts = outputs.filter((y) => isFloat(y.dtype)).map((y, i) => sum(mul(y, numbersLike(y, 17 + i))))
  return parts.length === 0 ? undefined : parts.reduce(add)
}

/** A differentiable function at one point: its loss, the gradients there, and the loss a step away. */
export interface Probe {
  readonly gradients: readonly Tensor[]
  /** Slope along one direction by the gradients, and by central differences. */
  readonly slope: Tensor
  readonly ahead: Tensor
  readonly behind: Tensor
}
/** Where central differences of f64 are most exact. */
export const stride = 2 ** -17

/** Differentiates a row's loss, or (`order` 2) the slope of its loss, by its float operands. Undefined if it has none. */
export async function probe(row: Row, args: unknown, float: DType, order: 1 | 2 = 1): Promise<Probe | undefined> {
  const at = async (step: number): Promise<{ loss: Tensor | undefined; points: Tensor[] }> => {
    const points: Tensor[] = []
    const made: Made<unknown> = makeAll(args, (spec) => {
      const x = spec.make(float)
      if (spec.held) return x
      const moved = step === 0 ? x : add(x, mul(numbersLike(x, 101 + points.length), step))
      points.push(moved)
      return moved
    })
    const loss = lossOf(await callWith(row, made))
    if (loss === undefined || order === 1) return { loss, points }
    return { loss: grad(loss, points).map((g, i) => sum(mul(g, numbersLike(g, 201 + i)))).reduce(add), points }
  }
  if (!specsOf(args).some((s) => !s.held)) return undefined
  const [here, ahead, behind] = [await at(0), await at(stride), await at(-stride)]
  if (here.loss === undefined) return undefined
  const gradients = grad(here.loss, here.points)
  return {
    gradients, ahead: ahead.loss!, behind: behind.loss!,
    slope: gradients.map((g, i) => sum(mul(g, numbersLike(g, 101 + i)))).reduce(add),
  }
}

/** What differs between a device's result and the reference device's, in words; undefined if nothing does. Without `subnormals`, numbers below the normal ones are as good as zero. */
export function difference(got: Result, want: Result, bound: Bound, magnitude = 0, subnormals = true): string | undefined {
  if (got.dtype !== want.dtype || String(got.shape) !== String(want.shape)) return `${got.dtype}[${got.shape}] instead of ${want.dtype}[${want.shape}]`
  const most = want.numbers.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), magnitude)
  const own = epsilon(want.dtype), narrow = want.dtype === "f16" || want.dtype === "bf16"
  const share = bound === "exact" ? 0 : "scale" in bound ? bound.scale * most : 0
  const factor = bound === "exact" || !isFloat(want.dtype) ? 0 : "ulps" in bound ? (narrow ? own : bound.ulps * own) : narrow ? own : 0
  // Below the smallest normal number there are no more ulps.
  const least = bound === "exact" ? 0 : want.dtype === "f16" ? 2 ** -24 : 2 ** -126
  for (let i = 0; i < sizeOf(want.shape); i++) {
    const g = got.numbers[i]!, w = want.numbers[i]!
    if (Object.is(g, w) || (bound !== "exact" && g === w)) continue
    if (!subnormals && Math.abs(g) <= 2 ** -126 && Math.abs(w) <= 2 ** -126 && isFloat(want.dtype)) continue
    if (bound !== "exact" && Number.isFinite(w) && Number.isFinite(g) && Math.abs(g - w) <= share + factor * Math.abs(w) + least) continue
    return `element ${i} of ${want.dtype}[${want.shape}] is ${Object.is(g, -0) ? "-0" : g} instead of ${Object.is(w, -0) ? "-0" : w}`
  }
  return undefined
}
/** The largest finite operand: results may cancel, and what remains is as exact as the operands. */
export const magnitudeOf = (args: unknown): number => specsOf(args).reduce((m, s) => Math.max(m, s.magnitude), 0)
