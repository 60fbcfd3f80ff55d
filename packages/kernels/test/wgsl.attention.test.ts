import { describe, expect, test, vi } from "vitest"
import { compile, tensor, useDevice, type AttentionOptions, type Tensor } from "@thimble/core"
import { check, gpu, normal, withGpu } from "./wgsl.ts"

withGpu()
// Drivers that compute on the CPU compile slowly.
vi.setConfig({ testTimeout: 120_000 })

interface Shape { readonly batch?: number; readonly heads: number; readonly kvHeads?: number; readonly tq: number; readonly tk: number; readonly d: number; readonly dv?: number }
interface Inputs { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor }

/** Operands of a shape, made anew on whatever device is current. */
async function inputs({ batch = 1, heads, kvHeads = heads, tq, tk, d, dv = d }: Shape): Promise<() => Inputs> {
  const sizes = { q: [batch, heads, tq, d], k: [batch, kvHeads, tk, d], v: [batch, kvHeads, tk, dv] }
  const data = { q: await normal(1, batch * heads * tq * d), k: await normal(2, batch * kvHeads * tk * d), v: await normal(3, batch * kvHeads * tk * dv) }
  return () => ({ q: tensor(data.q, { shape: sizes.q }), k: tensor(data.k, { shape: sizes.k }), v: tensor(data.v, { shape: sizes.v }) })
}

const shapes: Shape[] = [
  { heads: 1, tq: 1, tk: 1, d: 1 },
  { heads: 2, tq: 1, tk: 33, d: 20, dv: 7 },
  { batch: 2, heads: 4, kvHeads: 2, tq: 1, tk: 100, d: 16, dv: 12 },
  { heads: 8, kvHeads: 1, tq: 1, tk: 31, d: 13, dv: 3 },
  { heads: 3, kvHeads: 1, tq: 1, tk: 270, d: 64 },
  { batch: 2, heads: 2, tq: 3, tk: 600, d: 8, dv: 9 },
  { heads: 4, kvHeads: 2, tq: 4, tk: 300, d: 5 },
  // Tiles of many queries.
  { heads: 12, kvHeads: 1, tq: 11, tk: 20, d: 6 },
  { batch: 2, heads: 2, kvHeads: 1, tq: 40, tk: 140, d: 40, dv: 72 },
  // Many heads of few keys.
  { batch: 2, heads: 32, kvHeads: 16, tq: 1, tk: 300, d: 8, dv: 12 },
]

// A driver that runs on the CPU takes up to a second to compile a kernel: what does not depend on shapes is tried on some of them.
describe.each(shapes.map((shape, i) => ({ ...shape, some: i % 3 === 1 })))("$heads heads, $tq queries, $tk keys of $d", ({ some, ...shape }) => {
  const { batch = 1, heads, tq, tk } = shape
  test("plain, causal, in a window, with an offset", async () => {
    const make = await inputs(shape)
    const most: AttentionOptions[] = [{}, { causal: true, qOffset: tk - tq, window: 29, scale: 0.3 }]
    const options = !some ? most : [...most, { causal: true }, { causal: true, qOffset: 3, window: 2 }, { causal: true, qOffset: tk - tq, window: 290 }]
    for (const o of options) await check(() => { const { q, k, v } = make(); return q.attention(k, v, o) })
  })
  test.runIf(some || tq === 40)("masks of numbers and of truth values", async () => {
    const make = await inputs(shape)
    const numbers = await normal(4, batch * heads * tq * tk)
    await check(() => { const { q, k, v } = make(); return q.attention(k, v, { mask: tensor(numbers, { shape: [batch, heads, tq, tk] }), causal: true, qOffset: tk - tq }) })
    if (tq <= 8) await check(() => { const { q, k, v } = make(); return q.attention(k, v, { mask: tensor(numbers.slice(0, tk)).gt(-0.5) }) })
  })
  // One shape of many queries looks back over two keys, which may be of a tile further on.
  const window = tq === 40 ? 2 : 0
  test("the length of a cache and the offset of queries are run-time values; a query that sees nothing gives NaN", async () => {
    const make = await inputs(shape)
    for (const [length, offset] of [[tk, tk - tq], [Math.ceil(tk / 2), Math.ceil(tk / 2) - tq], [tk, 3], [1, 0], [0, 0], [tk + 5, 2], [Math.ceil(tk / 3), 1000]] as const)
      await check(() => {
        const { q, k, v } = make()
        return q.attention(k, v, { causal: true, length: tensor([length], { dtype: "i32" }), qOffset: tensor([offset], { dtype: "i32" }), window })
      })
  })
  test.runIf(some || tq === 40)("heads behind positions, 16-bit caches, epilogues", async () => {
    const make = await inputs(shape)
    await check(() => { const { q, k, v } = make(); return q.attention(k.cast("f16"), v.cast("f16"), { causal: true, qOffset: tk - tq }).mul(2).relu() }, 1e-3)
    if (tq <= 8) await check(() => { const { q, k, v } = make(); return q.attention(k, v).transpose(1, 2).reshape([batch * tq, -1]).add(1) })
  })
})

test("another length, known when the program runs, makes no new pipelines", async () => {
  const make = await inputs({ heads: 4, tq: 1, tk: 600, d: 32 })
  useDevice(gpu())
  const { q, k, v } = make()
  const decode = compile((q: Tensor, k: Tensor, v: Tensor, at: Tensor) => q.attention(k, v, { causal: true, qOffset: at, length: at.add(1) }))
  const step = async (at: number): Promise<unknown> => (await decode(q, k, v, tensor(at, { dtype: "i32" }))).data()
  await step(3)
  const { pipelines } = gpu().counts()
  for (const at of [4, 300, 599]) await step(at)
  expect(gpu().counts().pipelines).toBe(pipelines)
})
