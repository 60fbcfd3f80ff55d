// Attention that runs on matrices of subgroups, where the adapter has them; elsewhere the same laws hold for what runs instead.
import { describe, expect, test, vi, type TestContext } from "vitest"
import { tensor, type AttentionOptions, type DType, type Tensor } from "@thimble/core"
import { matricesOf } from "../src/wgsl/template/matrices.ts"
import { planOf } from "../src/wgsl/template/attention.matrices.ts"
import type { Features } from "../src/wgsl/template/holes.ts"
import { check, gpu, normal, withGpu, type Data } from "./wgsl.ts"

withGpu()
// Drivers that compute on the CPU compile slowly.
vi.setConfig({ testTimeout: 120_000 })

interface Shape { readonly batch?: number; readonly heads: number; readonly kvHeads?: number; readonly tq: number; readonly tk: number; readonly d: number; readonly dv?: number }
interface Inputs { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor }
type Types = readonly [q: DType, k: DType, v: DType]
const cached: Types = ["f32", "f16", "f16"], halves: Types = ["f16", "f16", "f16"], full: Types = ["f32", "f32", "f32"]

/** Operands of a shape, stored as these types, made anew on whatever device is current; `change` sees their numbers. */
async function inputs({ batch = 1, heads, kvHeads = heads, tq, tk, d, dv = d }: Shape, types: Types, change: (name: string, data: Data) => void = () => {}): Promise<() => Inputs> {
  const sizes = { q: [batch, heads, tq, d], k: [batch, kvHeads, tk, d], v: [batch, kvHeads, tk, dv] }
  const data = { q: await normal(1, batch * heads * tq * d), k: await normal(2, batch * kvHeads * tk * d), v: await normal(3, batch * kvHeads * tk * dv) }
  for (const [name, numbers] of Object.entries(data)) change(name, numbers)
  const make = (name: keyof Inputs, dtype: DType): Tensor => tensor(data[name], { shape: sizes[name], dtype }).cast("f32")
  return () => ({ q: make("q", types[0]), k: make("k", types[1]), v: make("v", types[2]) })
}
/** Where another kernel runs, which `wgsl.attention.test` holds to such laws, and SwiftShader takes seconds to compile. */
const needsMatrices = ({ skip }: TestContext): void => skip(matricesOf(gpu().features) === undefined, "no matrices of subgroups")
/** The law for these operands, within a part of the largest value. */
const attends = (make: () => Inputs, options: AttentionOptions | (() => AttentionOptions) = {}): Promise<Data> =>
  check(() => { const { q, k, v } = make(); return q.attention(k, v, typeof options === "function" ? options() : options) }, 5e-6)

const shapes: readonly (readonly [Shape, ...Types[]])[] = [
  [{ batch: 2, heads: 4, kvHeads: 2, tq: 9, tk: 40, d: 64 }, cached, halves, full],
  [{ heads: 2, kvHeads: 1, tq: 7, tk: 34, d: 80, dv: 96 }, cached],
  [{ heads: 1, tq: 18, tk: 35, d: 128 }, cached],
  [{ heads: 1, tq: 9, tk: 33, d: 256 }, halves],
  [{ heads: 2, tq: 12, tk: 70, d: 20, dv: 7 }, halves],
  // Enough workgroups for larger tiles.
  [{ batch: 4, heads: 24, tq: 66, tk: 70, d: 8 }, halves],
  [{ batch: 4, heads: 24, tq: 65, tk: 35, d: 40, dv: 8 }, cached],
]
describe.each(shapes.flatMap(([shape, ...types]) => types.map((t) => ({ ...shape, t, stored: t.join(" ") }))))("$heads heads, $tq queries, $tk keys of $d in $stored", ({ t, stored: _, ...shape }) => {
  test("plain; causal in a window", async (context) => {
    needsMatrices(context)
    const make = await inputs(shape, t)
    await attends(make)
    await attends(make, { causal: true, qOffset: shape.tk - shape.tq, window: 29, scale: 0.3 })
  })
})

const small = { heads: 4, kvHeads: 2, tq: 11, tk: 75, d: 16, dv: 24 }

test("the length of a cache and the offset of queries are run-time values; a query that sees nothing gives NaN", async (context) => {
  needsMatrices(context)
  const { tq, tk } = small
  for (const types of [cached, full]) {
    const make = await inputs(small, types)
    for (const [length, offset] of [[tk, tk - tq], [40, 29], [1, 0], [0, 0], [tk + 5, 2], [25, 1000]] as const)
      await attends(make, () => ({ causal: true, length: tensor([length], { dtype: "i32" }), qOffset: tensor([offset], { dtype: "i32" }) }))
  }
})

test("masks of numbers and of truth values, and of all that a query sees", async (context) => {
  needsMatrices(context)
  const { heads, tq, tk } = small, make = await inputs(small, cached), numbers = await normal(4, heads * tq * tk)
  await attends(make, () => ({ mask: tensor(numbers.map((x, i) => (i % 3 === 0 || Math.floor(i / tk) === 5 ? -Infinity : x)), { shape: [heads, tq, tk] }), causal: true, qOffset: tk - tq }))
  await attends(make, () => ({ mask: tensor(numbers.slice(0, tk)).gt(-0.5) }))
})

test("largest scores that grow along the keys, slowly and by far, and that shrink", async () => {
  // Exponentials of large scores are as wrong as these are; of few bits they are exact, in whatever order they are summed.
  const eighths = (data: Data): void => data.forEach((x, i) => { data[i] = Math.round(8 * x) / 8 })
  for (const factor of [(at: number) => at / 8, (at: number) => 40 * at, (at: number) => 40 * (small.tk - at)]) {
    const make = await inputs(small, cached, (name, data) => {
      if (name !== "v") eighths(data)
      if (name === "k") for (let i = 0; i < data.length; i++) data[i]! *= factor(Math.floor(i / small.d) % small.tk) / 4
    })
    await attends(make)
  }
})

test("rows and columns of all sizes, some of zeros", async (context) => {
  needsMatrices(context)
  // Scores stay moderate where queries are as large as keys are small; each column of the result by the size of its values.
  const size = (i: number, count: number): number => 10 ** ((i * 24) / count - 12), { tq, d, dv } = small
  const make = await inputs(small, full, (name, data) => data.forEach((x, i) => { data[i] = x * (name === "v" ? ((i % dv) === 3 ? 0 : size(i % dv, dv)) : name === "q" ? (Math.floor(i / d) % tq === 2 ? 0 : size(i % d, d)) : 1 / size(i % d, d)) }))
  const columns = Float32Array.from({ length: dv }, (_, i) => 1 / size(i, dv))
  const rows = await inputs(small, full, (name, data) => data.forEach((x, i) => { data[i] = name === "v" ? x : x * (name === "q" ? 1e15 : 1e-15) }))
  await attends(rows)
  await check(() => { const { q, k, v } = make(); return q.mul(0).attention(k.mul(0), v).mul(tensor(columns)) }, 5e-6)
})

/** One number of these operands is another. */
const changed = (types: Types, where: string, value: number): Promise<() => Inputs> => {
  const { d, dv } = small, at = where === "q" ? d * 3 + 1 : where === "k" ? d * 40 + 2 : dv * 40 + 2
  return inputs(small, types, (name, data) => { if (name === where) data[at] = value })
}
async function keepsWhatIsNotFinite(types: Types): Promise<void> {
  for (const [where, value] of [["q", NaN], ["q", Infinity], ["k", NaN], ["k", -Infinity], ["v", Infinity], ["v", NaN]] as const) {
    const got = await attends(await changed(types, where, value))
    expect(got.some((x) => !Number.isFinite(x)) || value === -Infinity).toBe(true)
    expect(got.some((x) => Number.isFinite(x))).toBe(true)
  }
}
test("what is not finite is where the reference has it", () => keepsWhatIsNotFinite(cached))
test("so it is with operands that are split", async (context) => {
  needsMatrices(context)
  await keepsWhatIsNotFinite(full)
})
test("keys that no query sees do nothing, whatever they are", async (context) => {
  needsMatrices(context)
  for (const types of [cached, full]) expect((await attends(await changed(types, "k", NaN), { causal: true, qOffset: 20 })).every(Number.isFinite)).toBe(true)
})

test("tiles fit the memory and the subgroups of adapters", () => {
  const adapter = (size: number, subgroup: number, sharedBytes: number): Features => ({
    software: false, half: true, subgroup: { least: subgroup, most: subgroup }, packedDot: true, sharedBytes, threads: 256, bindings: 10, bindingBytes: 2 ** 27,
    matrices: [{ m: size, n: size, k: size, component: "f16", result: "f32" }],
    numbers: { contracts: true, fuses: true, exactDivision: true, exactRoot: true, exactHalves: true },
  })
  const tiles = (features: Features, d: number, [q, k, v]: readonly [1 | 2, 1 | 2, 1 | 2]): string => {
    const plan = planOf({ batch: 1, heads: 32, kvHeads: 32, tq: 2048, tk: 2048, d, dv: d, causal: 1, window: 0, scale: 1, qOffset: 0 }, features, { q, k, v })
    if (plan === undefined) return "none"
    expect(plan.bytes).toBeLessThanOrEqual(features.sharedBytes)
    return `${plan.rows} × ${plan.keys}`
  }
  const large = adapter(16, 32, 49152), [kind] = large.matrices
  expect(tiles({ ...large, matrices: [{ ...kind!, typed: true }] }, 64, [1, 1, 1])).toBe("none")
  const little = adapter(8, 8, 32768)
  expect([tiles(large, 64, [1, 1, 1]), tiles(large, 128, [1, 1, 1]), tiles(large, 128, [2, 1, 1]), tiles(large, 128, [2, 2, 2]), tiles(large, 256, [2, 1, 1]), tiles(large, 256, [2, 2, 2])]).toEqual(["32 × 32", "32 × 32", "32 × 64", "32 × 32", "16 × 32", "none"])
  expect([tiles(little, 64, [2, 1, 1]), tiles(little, 128, [2, 1, 1]), tiles(little, 128, [2, 2, 2])]).toEqual(["64 × 32", "32 × 32", "16 × 32"])
})
