// D4, D7 and H: products on integers, other types of inputs, and what training sees of a format.
import { adamW, castTo, denseWeight, grad, quantizedWeight, quantizeWeight, realize, roundHalfEven, tensor, tensorsOf, uploadParts, valueAndGrad, withDevice, type DType, type Device, type Tensor, type Weight } from "@thimble/core"
import type { IntegerFormat } from "../format/integers.ts"
import type { QuantizedFormat } from "../quantizer.ts"
import { fakeQuantize } from "../quantize/fake.ts"
import { initialSteps, lsqQuantize } from "../quantize/lsq.ts"
import { convert, prepare, type Matrices } from "../quantize/qat.ts"
import { show } from "./bounds.ts"
import { breach, differing, roundTrip, type Breach, type Case, type DeviceLaw } from "./law.ts"
import { numbers, ordinary } from "./values.ts"

const floats = (t: Tensor): Promise<Float32Array> => t.data() as Promise<Float32Array>
/** Something on a device; what is made after the first wait has to name it again. */
const there = <T>(device: Device, work: () => Promise<T>): Promise<T> => withDevice(device, work)

export const casts: DeviceLaw = {
  name: "casts", letter: "D7", kinds: ordinary, share: 8,
  statement: "Values in f16 or bf16 are rounded as the same values in f32 are.",
  brokenOn: (format, { values, shape, pick }, device) => there(device, async () => {
    const dtype: DType = pick % 2 === 0 ? "f16" : "bf16", narrow = castTo(tensor(values, { shape }), dtype), wide = await floats(castTo(narrow, "f32"))
    if (values.length === 0 || wide.some((v) => !Number.isFinite(v))) return undefined
    const want = roundTrip(format, wide, shape)
    const at = want && differing(want.back, await floats(fakeQuantize(narrow, format)), shape)
    return at && { at, problem: `${show(wide[at.i]!)} becomes another value in ${dtype} than in f32` }
  }),
}

export const fake: DeviceLaw = {
  name: "fake", letter: "H1", kinds: ordinary, share: 8,
  statement: "What training computes with, fakeQuantize(x), is decode(encode(x)), bit for bit.",
  brokenOn: (format, { values, shape }, device) => there(device, async () => {
    const want = values.length === 0 ? undefined : roundTrip(format, values, shape)
    if (want === undefined) return undefined
    const got = await floats(fakeQuantize(tensor(values, { shape }), format)), at = differing(want.back, got, shape)
    return at && { at, problem: `x̂ = ${show(want.back[at.i]!)} is ${show(got[at.i]!)} while training` }
  }),
}

export const straightThrough: DeviceLaw = {
  name: "straightThrough", letter: "H1", kinds: ordinary, share: 8,
  statement: "Gradients pass through rounding as they are, but for values beyond the last code: those get none.",
  brokenOn: (format, { values, shape, pick }, device) => there(device, async () => {
    const rounded = values.length === 0 ? undefined : roundTrip(format, values, shape)
    if (rounded === undefined) return undefined
    const next = numbers(pick), dy = Float32Array.from(values, () => 1 + next()), x = tensor(values, { shape }), [dx] = grad(fakeQuantize(x, format).mul(tensor(dy, { shape })).sum(), [x]), got = await floats(dx!)
    const wrong = got.findIndex((g, i) => g !== dy[i] && !(g === 0 && Math.abs(values[i]!) >= Math.abs(rounded.back[i]!)))
    return wrong < 0 ? undefined : breach(wrong, shape, `a gradient of ${show(dy[wrong]!)} becomes ${show(got[wrong]!)}`)
  }),
}

interface One extends Matrices<One> { readonly weights: Readonly<Record<"w", Weight>> }
const one = (w: Weight): One => ({ weights: { w }, vectors: {}, with: (changed) => one((changed.w as Weight | undefined) ?? w) })
export const converts: DeviceLaw = {
  name: "converts", letter: "H2", kinds: ordinary, share: 8,
  statement: "A matrix that was prepared for training is, once it is converted, what the prepared one computed with, bit for bit.",
  brokenOn: (format, { values, shape }, device) => there(device, async () => {
    if (values.length === 0 || roundTrip(format, values, shape) === undefined) return undefined
    const prepared = await prepare(one(denseWeight(tensor(values, { shape }))), { default: format }), before = await floats(prepared.weights.w.dense())
    const after = await floats((await convert(prepared)).weights.w.dense()), at = differing(before, after, shape)
    return at && { at, problem: `${show(before[at.i]!)} while training is stored as ${show(after[at.i]!)}` }
  }),
}

export const frozen: DeviceLaw = {
  name: "frozen", letter: "H3", kinds: ordinary, share: 8,
  statement: "While an adapter trains beside it, the stored bytes of a matrix stay as they are, and only the adapter moves.",
  brokenOn: (format, { values, shape: [rows, columns], shape, pick }, device) => there(device, async () => {
    if (values.length === 0 || roundTrip(format, values, shape) === undefined) return undefined
    const base = quantizeWeight(format, values, shape), bytes = async (): Promise<number[][]> => Promise.all(Object.values(base.parts()).map(async (t) => { const d = await t.data(); return [...new Uint8Array(d.buffer, d.byteOffset, d.byteLength)] }))
    const before = await bytes(), next = numbers(pick), random = (n: number, m: number): Tensor => tensor(Float32Array.from({ length: n * m }, () => next() - 0.5), { shape: [n, m], device })
    const x = random(3, columns), y = random(3, rows), optimizer = adamW({ rate: 0.05 }), loss = valueAndGrad((p: { a: Tensor; b: Tensor }) => base.apply(x).add(x.matmul(p.a).matmul(p.b)).sub(y).square().mean())
    let adapter = { a: random(columns, 2), b: random(2, rows) }, state = withDevice(device, () => optimizer.init(adapter))
    const start = await floats(adapter.b)
    for (let i = 0; i < 3; i++) {
      const made = withDevice(device, () => optimizer.update(adapter, loss(adapter).grads, state))
      ;({ parameters: adapter, state } = made)
      await realize(...tensorsOf(made))
    }
    const after = await bytes(), changed = before.findIndex((b, i) => b.some((v, j) => v !== after[i]![j]))
    if (changed >= 0) return { problem: `bytes of '${Object.keys(base.parts())[changed]}' changed while an adapter trained` }
    return (await floats(adapter.b)).every((v, i) => v === start[i]) ? { problem: "the adapter did not move" } : undefined
  }),
}

/** Formats that say how their integers lie. */
const integersOf = (format: QuantizedFormat): IntegerFormat | undefined => ("integers" in format ? (format as IntegerFormat) : undefined)

export const learnedSteps: DeviceLaw = {
  name: "learnedSteps", letter: "H1", kinds: ["gaussian", "heavy", "outlierChannel", "positive", "negative", "bothEnds"], share: 8,
  statement: "The gradient of a learned step is Σ dy·(round(x/s) − x/s) over values within the codes and Σ dy·(q − z) over those beyond, q the last code, times 1/√(n·qmax).",
  brokenOn: (format, c, device) => there(device, async () => {
    const own = integersOf(format)
    if (own === undefined) return { problem: "it does not say how its integers lie" }
    return c.values.length === 0 || roundTrip(format, c.values, c.shape) === undefined ? undefined : stepGradient(own, c, device)
  }),
}
async function stepGradient(format: IntegerFormat, { values, shape: [rows, columns], shape, pick }: Case, device: Device): Promise<Breach | undefined> {
  const { low, high, groups } = format.integers, next = numbers(pick), x = tensor(values, { shape, device }), dy = Float32Array.from(values, () => next() - 0.5)
  const found = initialSteps(x, format), steps = Float32Array.from(await floats(found.steps), (s) => 2 ** Math.round(Math.log2(Math.max(s, 2 ** -12)))), zeros = found.zeros && await found.zeros.data()
  const s = tensor(steps, { shape: found.steps.shape, device }), [ds] = grad(lsqQuantize(x, { steps: s, ...(found.zeros && { zeros: found.zeros }) }, format).mul(tensor(dy, { shape, device })).sum(), [s]), got = await floats(ds!)
  const want = new Float64Array(steps.length), size = new Float64Array(steps.length), members = (rows * columns) / steps.length
  groups.each(shape, (g, from, to) => {
    for (let i = from; i < to; i++) {
      const z = Number(zeros?.[g] ?? 0), free = roundHalfEven(values[i]! / steps[g]!) + z, held = Math.max(low, Math.min(high, free)), slope = free === held ? held - z - values[i]! / steps[g]! : held - z
      want[g]! += dy[i]! * slope
      size[g]! += Math.abs(dy[i]!) * (Math.abs(slope) + Math.abs(held - z))
    }
  })
  const factor = 1 / Math.sqrt(members * high), wrong = got.findIndex((v, g) => !(Math.abs(v - want[g]! * factor) <= size[g]! * factor * 1e-5 + 1e-12))
  return wrong < 0 ? undefined : { problem: `the gradient of step ${wrong} is ${show(got[wrong]!)}, and ${show(want[wrong]! * factor)} by the formula` }
}

/** As many products of bytes as 31 bits hold, whatever they are. */
const most = 33_025
export const integerSums: DeviceLaw = {
  name: "integerSums", letter: "D4", kinds: ["zeros"], share: 8,
  statement: "With activations in int8, 32 neighbouring products of codes are summed exactly, also at their largest; K of them (up to 33,025) are no farther off than K/32 additions in f32 and one per group.",
  brokenOn: (format, { pick }, device) => there(device, async () => {
    const own = integersOf(format)
    if (own === undefined) return { problem: "it does not say how its integers lie" }
    const columns = [64, 1000, most][pick % 3]!, next = numbers(pick), mixed = pick % 2 === 1
    const w = Float32Array.from({ length: columns }, () => (mixed && next() < 0.4 ? -1 : 1)), x = Float32Array.from({ length: columns }, () => (mixed && next() < 0.4 ? -126 : 127)), shape = [1, columns] as const
    const stored = format.encode(w, shape), back = format.decode(stored, shape)
    const got = (await floats(quantizedWeight(format, shape, uploadParts(stored), { activations: { scale: 1 } }).apply(tensor(x, { shape: [1, columns] }))))[0]!
    let want = 0, size = 0
    const size1 = Math.min(format.group, columns)
    for (let from = 0; from < columns; from += size1) {
      let part = 0
      for (let c = from; c < Math.min(columns, from + size1); c++) part += back[c]! * x[c]!
      want += part
      size += Math.abs(part)
    }
    const groups = Math.ceil(columns / size1)
    return Math.abs(got - want) <= 2 * (columns / 32 + groups + 4) * 2 ** -24 * size ? undefined : { problem: `${columns} products give ${show(got)} on ${device.name}, and ${show(want)} exactly` }
  }),
}
