import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { referenceDevice, tensor, useDevice, type Device, type Tensor, type TypedArray } from "@thimble/core"
import { open } from "../../kernels/src/index.ts"
import { devices } from "../../conformance/src/devices.ts"
import { openGolden } from "../../conformance/src/golden.ts"
import { solveGptq, solveGptqOnDevice, hessian, hessianOnDevice, solveSparsegpt, solveSparsegptOnDevice, type GptqOptions, type GptqResult, type GridOptions } from "../src/index.ts"
import { dampedLosses } from "./damped-loss.ts"
import { liveBytes } from "./live-bytes.ts"
import { fill, shuffled } from "../src/laws/values.ts"

/** Inputs whose neighbours resemble each other, so that corrections matter. */
function inputs(seed: number, tokens: number, columns: number, pull = 1): Float32Array {
  const x = fill("gaussian", seed, [tokens, columns])
  for (let i = 1; i < x.length; i++) if (i % columns) x[i] = x[i]! * 0.5 + pull * x[i - 1]!
  return x
}
const square = (h: Float64Array | Float32Array): Tensor => tensor(Float32Array.from(h), { shape: [Math.sqrt(h.length), Math.sqrt(h.length)] })
function hessianOf(x: Float32Array, columns: number): Float64Array {
  const h = hessian(columns)
  h.add(x, x.length / columns)
  return h.matrix()
}
const total = (loss: Float64Array): number => loss.reduce((a, b) => a + b, 0)
const differing = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).filter((v, i) => v !== b[i]).length / a.length

describe.each(devices)("the solver on $name", ({ open: start }) => {
  let device: Device
  beforeAll(async () => void useDevice((device = await start())))
  afterAll(async () => {
    useDevice(referenceDevice())
    await device.close()
  })
  test("H, codes and losses are about those of float64", async () => {
    const columns = 20, w = fill("gaussian", 1, [4, columns]), x = inputs(2, 30, columns), h = hessianOnDevice(columns)
    await h.add(tensor(x.slice(0, 10 * columns), { shape: [2, 5, columns] }))
    await h.add(tensor(x.slice(10 * columns), { shape: [20, columns] }))
    const matrix = await h.matrix(), exact = hessianOf(x, columns).map((v) => v / 2), got = (await matrix.data()) as Float32Array
    expect(h.tokens).toBe(30)
    got.forEach((v, i) => expect(Math.abs(v - exact[i]!)).toBeLessThanOrEqual(1e-4))
    const o: GptqOptions = { bits: 3, group: 4, block: 8, order: "activity" }, found = await solveGptqOnDevice(w, [4, columns], matrix, o), want = solveGptq(w, [4, columns], exact, o)
    expect([...found.codes]).toEqual([...want.codes])
    expect(Math.abs(total(found.loss) - total(want.loss))).toBeLessThanOrEqual(1e-4 * total(want.loss))
    for (const t of [matrix, h]) t.dispose()
  })
})

describe("on wasm", () => {
  let device: Device
  beforeAll(async () => void useDevice((device = await open("wasm", { threads: 2 }))))
  afterAll(async () => {
    useDevice(referenceDevice())
    await device.close()
  })
  const columns = 24, rows = 5, shape = [rows, columns] as const, seeds = fc.integer({ min: 1, max: 1e6 })
  const options = fc.record({
    bits: fc.constantFrom(2, 3, 4), range: fc.constantFrom("symmetric", "asymmetric"), group: fc.constantFrom("row", 5, 8, 12, 40),
    order: fc.constantFrom("given", "activity"), grids: fc.constantFrom("updated", "static"), block: fc.constantFrom(8, 128),
  }) as fc.Arbitrary<GptqOptions & GridOptions>
  const weights = (seed: number): Float64Array => Float64Array.from(fill("gaussian", seed, shape))
  const run = async (w: Float64Array, h: Float64Array, o: GptqOptions): Promise<GptqResult> => {
    const on = square(h)
    try {
      return await solveGptqOnDevice(w, shape, on, o)
    } finally {
      on.dispose()
    }
  }

  test("the squared corrections are the loss, as far as f32 holds H", () => fc.assert(fc.asyncProperty(seeds, options, async (seed, o) => {
    const w = weights(seed), h = hessianOf(inputs(seed + 1, 60, columns), columns), { values, loss, damping } = await run(w, h, o)
    dampedLosses(w, values, h, damping, [rows, columns]).forEach((sum, r) => expect(Math.abs(sum - loss[r]!)).toBeLessThanOrEqual(1e-4 * sum))
  }), { numRuns: 25 }))

  test("where inputs are unrelated it is rounding to the nearest; weights on their grid stay; four times H changes nothing; rows do not know of each other", () =>
    fc.assert(fc.asyncProperty(seeds, options, async (seed, o) => {
      const w = weights(seed), h = hessianOf(inputs(seed, 60, columns), columns), diagonal = new Float64Array(columns * columns), turn = shuffled(rows, seed)
      for (let i = 0; i < columns; i++) diagonal[i * columns + i] = 1 + ((i * 7) % 5)
      expect((await run(w, diagonal, o)).values).toEqual(solveGptq(w, shape, diagonal, o).values)
      const on = Float64Array.from({ length: rows * columns }, (_, i) => (i % 8 === 0 ? 0 : i % 8 === 1 ? 15 : (i * 7 + seed) % 16))
      expect((await run(on, h, { bits: 4, group: 8 })).values).toEqual(on)
      const found = await run(w, h, o)
      expect((await run(w, h.map((v) => 4 * v), o)).codes).toEqual(found.codes)
      const moved = await run(w.map((_, i) => w[turn[Math.floor(i / columns)]! * columns + (i % columns)]!), h, o)
      moved.codes.forEach((q, i) => expect(q).toBe(found.codes[turn[Math.floor(i / columns)]! * columns + (i % columns)]))
    }), { numRuns: 15 }))

  test("the size of blocks does not matter beyond the precision of f32", async () => {
    const w = fill("gaussian", 3, [40, 300]), h = square(hessianOf(inputs(4, 500, 300), 300)), o = { bits: 4, group: 20 } as const
    const whole = await solveGptqOnDevice(w, [40, 300], h, { ...o, block: 300 })
    for (const block of [20, 60, 128]) {
      const found = await solveGptqOnDevice(w, [40, 300], h, { ...o, block })
      expect(differing(found.codes, whole.codes)).toBeLessThan(0.01)
      expect(Math.abs(total(found.loss) - total(whole.loss))).toBeLessThan(1e-3 * total(whole.loss))
    }
    h.dispose()
  })

  // One weight that goes instead of another changes all that follow in its row: H itself must be the same.
  test("several slabs: H is that of float64 in f32, and with it codes and masks are, too, but near ties", async () => {
    const n = 1300, w = fill("gaussian", 5, [24, n]), x = inputs(6, 400, n, 0.6), exact = hessianOf(x, n), most = exact.reduce((a, b) => Math.max(a, b)), sum = hessianOnDevice(n)
    const given = tensor(x, { shape: [400, n] })
    await sum.add(given)
    const on = await sum.matrix(), h = new Float64Array((await on.data()) as Float32Array)
    h.forEach((v, i) => { if (Math.abs(v - exact[i]!) > 1e-5 * most) throw new Error(`H ${i}: ${v}, ${exact[i]}`) })
    const o = { bits: 4, group: 128 } as const, found = await solveGptqOnDevice(w, [24, n], on, o), want = solveGptq(w, [24, n], h, o)
    expect(differing(found.codes, want.codes)).toBeLessThan(0.001)
    expect(Math.abs(total(found.loss) - total(want.loss))).toBeLessThan(1e-4 * total(want.loss))
    for (const sparsity of [0.5, { keep: 2, of: 4 }]) {
      const pruned = await solveSparsegptOnDevice(w, [24, n], on, { sparsity }), wanted = solveSparsegpt(w, [24, n], h, { sparsity })
      expect(differing(pruned.kept, wanted.kept)).toBeLessThan(0.001)
      expect(Math.abs(total(pruned.loss) - total(wanted.loss))).toBeLessThan(1e-4 * total(wanted.loss))
    }
    for (const t of [given, sum, on]) t.dispose()
  })

  test("no memory is left behind", async () => {
    const w = weights(1), h = hessianOf(inputs(1, 60, columns), columns)
    await run(w, h, { bits: 4, group: 8, block: 8 })
    const before = liveBytes()
    for (const o of [{}, { order: "activity" }, { damping: 0 }] as const) await run(w, h, { bits: 4, group: 8, block: 8, ...o })
    await expect(run(w, h.map((v, i) => (i % (columns + 1) ? -1e9 : v)), { bits: 4 })).rejects.toThrow("H is not positive definite, even with a damping of 10000")
    const sum = hessianOnDevice(columns), x = tensor(inputs(1, 60, columns), { shape: [60, columns] })
    await sum.add(x)
    await sum.add(x)
    for (const t of [await sum.matrix(), sum, x]) t.dispose()
    expect(liveBytes()).toBe(before)
  })

  test("a singular H is damped, and said to be; dead columns become zero; what is no number is refused with its place", async () => {
    const ones = new Float64Array(columns * columns).fill(1), w = weights(1)
    expect((await run(w, ones, { bits: 4, damping: 0 })).fallbacks).toEqual([{ kind: "damping", from: 0, to: 1e-4, pivot: columns - 2 }])
    const h = hessianOf(inputs(1, 60, columns).map((v, i) => (i % columns === 7 ? 0 : v)), columns), found = await run(w, h, { bits: 4, group: 8 })
    expect(found.fallbacks).toEqual([{ kind: "dead columns", columns: [7] }])
    for (let r = 0; r < rows; r++) expect(found.values[r * columns + 7]! + 0).toBe(0)
    await expect(run(w, h.fill(NaN, 30, 31), { bits: 4 })).rejects.toThrow("gptq: element of H at row 1, column 6 is NaN")
    await expect(hessianOnDevice(columns).add(tensor(new Float32Array(2 * columns).fill(Infinity, columns + 3, columns + 4), { shape: [2, columns] }))).rejects.toThrow("hessian: input 3 of token 1 is Infinity; a calibration batch that overflowed says nothing about the others")
    await expect(hessianOnDevice(columns).add(tensor(new Float32Array(6)))).rejects.toThrow("hessian: inputs [6] for 24 columns")
  })

  interface Case { readonly name: string; readonly layer: "A" | "B"; readonly bits: 4; readonly sym: boolean; readonly g: number; readonly act: boolean; readonly static: boolean; readonly blocksize: number; readonly mse: boolean; readonly percdamp: number; readonly ints: string; readonly ref_loss: number }
  test("recorded layers: about the published integers and losses", async () => {
    const set = await openGolden<{ readonly gptq: readonly Case[] }>("gptq", new URL("../fixtures", import.meta.url))
    const differ: number[] = []
    for (const c of set.manifest.gptq) {
      const on = square(set.array(`layer${c.layer}.H_f64`) as Float64Array)
      const found = await solveGptqOnDevice(set.array(`layer${c.layer}.W`) as Float32Array, set.manifest.tensors[`layer${c.layer}.W`]!.shape as [number, number], on, {
        bits: c.bits, range: c.sym ? "symmetric" : "asymmetric", group: c.g < 0 ? "row" : c.g, order: c.act ? "activity" : "given",
        grids: c.static ? "static" : "stale", block: c.blocksize, damping: c.percdamp, ends: c.mse ? "search" : "whole",
      })
      on.dispose()
      differ.push(differing(found.codes, Array.from(set.array(c.ints) as TypedArray, Number)))
      expect(Math.abs(total(found.loss) / 2 - c.ref_loss)).toBeLessThanOrEqual(1e-3 * c.ref_loss)
    }
    expect(Math.max(...differ)).toBeLessThan(0.002)
  })
})
