import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { compile, random, referenceDevice, tensor, useDevice, withDevice, type AttentionOptions, type DType, type Device, type Tensor } from "@thimble/core"
import { open } from "../src/index.ts"

const reference = referenceDevice()
const devices: Device[] = []
beforeAll(async () => {
  devices.push(await open("wasm", { threads: 1 }), await open("wasm", { threads: 2 }), await open("wasm", { threads: 3 }))
})
afterAll(async () => {
  useDevice(reference)
  for (const d of devices) await d.close()
})

type Data = Float32Array
const normal = async (seed: number, n: number): Promise<Data> => withDevice(reference, () => random.normal(random.key(seed), [n]).data()) as Promise<Data>

interface Shape { readonly batch?: number; readonly heads: number; readonly kvHeads?: number; readonly tq: number; readonly tk: number; readonly d: number; readonly dv?: number }
interface Inputs { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor }

/** Operands of a shape, made anew on whatever device is current. */
async function inputs({ batch = 1, heads, kvHeads = heads, tq, tk, d, dv = d }: Shape): Promise<() => Inputs> {
  const sizes = { q: [batch, heads, tq, d], k: [batch, kvHeads, tk, d], v: [batch, kvHeads, tk, dv] }
  const data = { q: await normal(1, batch * heads * tq * d), k: await normal(2, batch * kvHeads * tk * d), v: await normal(3, batch * kvHeads * tk * dv) }
  return () => ({ q: tensor(data.q, { shape: sizes.q }), k: tensor(data.k, { shape: sizes.k }), v: tensor(data.v, { shape: sizes.v }) })
}

/** The law: what the expansion gives on the reference device, and the same bits on any number of threads. */
async function check(make: () => Tensor, tolerance = 3e-6): Promise<Data> {
  const run = (device: Device): Promise<Data> => withDevice(device, () => make().data()) as Promise<Data>
  const want = await run(reference)
  const [one, ...others] = await Promise.all(devices.map(run))
  for (const other of others) expect(other).toEqual(one)
  const scale = want.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0)
  const bad = one!.findIndex((v, i) => !(Object.is(v, want[i]) || Math.abs(v - want[i]!) <= tolerance * scale))
  expect(bad < 0 ? "" : `[${bad}] ${one![bad]} instead of ${want[bad]}`).toBe("")
  return one!
}

const shapes: Shape[] = [
  { heads: 1, tq: 1, tk: 1, d: 1 },
  { heads: 1, tq: 1, tk: 3, d: 4 },
  { heads: 3, tq: 1, tk: 5, d: 8 },
  { heads: 2, tq: 1, tk: 33, d: 20, dv: 7 },
  { batch: 2, heads: 4, kvHeads: 2, tq: 1, tk: 100, d: 16, dv: 12 },
  { heads: 8, kvHeads: 1, tq: 1, tk: 31, d: 13, dv: 3 },
  { heads: 3, kvHeads: 1, tq: 1, tk: 270, d: 8 },
  { batch: 2, heads: 2, tq: 3, tk: 600, d: 8, dv: 9 },
  { heads: 4, kvHeads: 2, tq: 4, tk: 300, d: 5 },
  { heads: 1, tq: 9, tk: 9, d: 4 },
  { batch: 2, heads: 2, tq: 31, tk: 33, d: 8, dv: 5 },
  { heads: 6, kvHeads: 2, tq: 5, tk: 40, d: 16 },
  { heads: 12, kvHeads: 1, tq: 11, tk: 20, d: 6 },
  { heads: 2, kvHeads: 1, tq: 100, tk: 100, d: 12, dv: 20 },
  { heads: 1, tq: 70, tk: 300, d: 8 },
  { heads: 16, kvHeads: 1, tq: 1, tk: 530, d: 4 },
]
const name = ({ batch = 1, heads, kvHeads = heads, tq, tk, d, dv = d }: Shape): string => `${batch} × ${heads}/${kvHeads} heads, ${tq} queries, ${tk} keys, ${d} and ${dv} features`

describe.each(shapes)("$heads heads, $tq queries, $tk keys", (shape) => {
  const { batch = 1, heads, tq, tk } = shape
  test(`${name(shape)}: plain, causal, in a window, with an offset`, async () => {
    const make = await inputs(shape)
    const options: AttentionOptions[] = [{}, { scale: 0.3 }, { causal: true }, { causal: true, qOffset: tk - tq }, { causal: true, qOffset: 3, window: 2 }, { causal: true, qOffset: tk - tq, window: 7 }, { causal: true, qOffset: tk - tq, window: 290 }]
    for (const o of options) await check(() => { const { q, k, v } = make(); return q.attention(k, v, o) })
  })
  test("masks of numbers and of truth values", async () => {
    const make = await inputs(shape)
    const numbers = await normal(4, batch * heads * tq * tk)
    await check(() => { const { q, k, v } = make(); return q.attention(k, v, { mask: tensor(numbers, { shape: [batch, heads, tq, tk] }), causal: true, qOffset: tk - tq }) })
    await check(() => { const { q, k, v } = make(); return q.attention(k, v, { mask: tensor(numbers.slice(0, tk)).gt(-0.5) }) })
    await check(() => { const { q, k, v } = make(); return q.attention(k, v, { mask: tensor(numbers.slice(0, tq * tk), { shape: [tq, tk] }) }) })
  })
  test("the length of a cache and the offset of queries are run-time values", async () => {
    const make = await inputs(shape)
    for (const [length, offset] of [[tk, tk - tq], [Math.ceil(tk / 2), Math.ceil(tk / 2) - tq], [1, 0], [0, 0], [tk + 5, 2], [Math.ceil(tk / 3), 1000]] as const)
      await check(() => {
        const { q, k, v } = make()
        return q.attention(k, v, { causal: true, length: tensor([length], { dtype: "i32" }), qOffset: tensor([offset], { dtype: "i32" }) })
      })
  })
})

describe("operands and results", () => {
  const few: Shape = { heads: 4, kvHeads: 2, tq: 2, tk: 40, d: 12, dv: 10 }, many: Shape = { heads: 4, kvHeads: 2, tq: 21, tk: 40, d: 12, dv: 10 }
  for (const shape of [few, many]) {
    const { heads, kvHeads, tq, tk, d, dv } = shape as Required<Shape>
    test(`${tq} queries: heads behind positions, as projections give them`, async () => {
      const make = await inputs(shape)
      await check(() => {
        const { q, k, v } = make()
        const turned = q.reshape([1, tq, heads, d]).transpose(1, 2)
        return turned.attention(k.reshape([1, tk, kvHeads, d]).transpose(1, 2), v.reshape([1, tk, kvHeads, dv]).transpose(1, 2), { causal: true, qOffset: 7 }).transpose(1, 2).reshape([tq, heads * dv])
      })
    })
    test(`${tq} queries: keys stored features first, 16-bit caches, computed operands, epilogues`, async () => {
      const make = await inputs(shape)
      await check(() => { const { q, k, v } = make(); return q.attention(k.reshape([1, kvHeads, d, tk]).transpose(2, 3), v.reshape([1, kvHeads, dv, tk]).transpose(2, 3)) })
      for (const dtype of ["f16", "bf16"] as DType[])
        await check(() => { const { q, k, v } = make(); return q.attention(k.cast(dtype), v.cast(dtype)) })
      await check(() => { const { q, k, v } = make(); return q.cast("f16").attention(k.cast("f16"), v.cast("f16")).cast("f32") }, 2e-3)
      await check(() => { const { q, k, v } = make(); return q.mul(0.5).attention(k.tanh(), v.add(1)).mul(2).add(q.sum()).relu() })
      await check(() => { const { q, k, v } = make(); return q.attention(k.slice([0, 1], [0, kvHeads], [3, 30]), v.slice([0, 1], [0, kvHeads], [3, 30]), { causal: true, qOffset: 6 }) })
    })
  }
})

test("scores that are infinite, huge or NaN give what the expansion gives", async () => {
  for (const tq of [1, 12]) {
    const make = await inputs({ heads: 1, tq, tk: 40, d: 4 })
    for (const value of [Infinity, -Infinity, NaN, 3e38, -3e38, 200]) {
      const mask = Float32Array.from({ length: tq * 40 }, (_, i) => (i % 40 === 17 ? value : 0))
      await check(() => { const { q, k, v } = make(); return q.attention(k, v, { mask: tensor(mask, { shape: [tq, 40] }) }) })
    }
    const none = await check(() => { const { q, k, v } = make(); return q.attention(k, v, { mask: tensor(new Float32Array(tq * 40).fill(-Infinity), { shape: [tq, 40] }) }) })
    expect(none.every(Number.isNaN)).toBe(true)
  }
})

test("one program for all lengths of a cache; what lies behind the length does not matter", async () => {
  const [heads, tk, d] = [2, 600, 8]
  const make = await inputs({ heads, tq: 1, tk, d })
  useDevice(devices[1]!)
  const step = compile((q: Tensor, k: Tensor, v: Tensor, length: Tensor) => q.attention(k, v, { causal: true, length: length.cast("i32"), qOffset: length.cast("i32").sub(1) }))
  await withDevice(devices[1]!, async () => {
    const { q, k, v } = make()
    for (const length of [1, 2, 255, 256, 257, 511, 512, 513, 600]) {
      const all = await (await step(q, k, v, tensor([length]).reshape([]))).data()
      const part = await q.attention(k.slice([0, 1], [0, heads], [0, length]), v.slice([0, 1], [0, heads], [0, length])).data()
      expect(all).toEqual(part)
    }
    expect(step.programs).toBe(1)
  })
})

test("a query's bits do not depend on the queries beside it", async () => {
  const make = await inputs({ heads: 2, tq: 90, tk: 90, d: 8 })
  await withDevice(devices[1]!, async () => {
    const { q, k, v } = make()
    const all = await q.attention(k, v, { causal: true }).data()
    const some = await q.slice([0, 1], [0, 2], [13, 60]).attention(k, v, { causal: true, qOffset: 13 }).data()
    for (const head of [0, 1]) expect(some.slice(head * 47 * 8, (head + 1) * 47 * 8)).toEqual(all.slice((head * 90 + 13) * 8, (head * 90 + 60) * 8))
  })
})
