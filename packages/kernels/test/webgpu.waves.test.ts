// Programs that run again and again: kernels that do not depend on each other share dispatches, and nothing else changes.
import { describe, expect, test } from "vitest"
import { compile, quantizeWeight, rmsNorm, silu, tensor, withDevice, type Device, type Tensor } from "@thimble/core"
import { int } from "../../compress/src/index.ts"
import { gpu, normal, reference, withGpu } from "./wgsl.ts"

withGpu({ merges: true, features: { software: false } })

/** Runs of a program, so many that what can be joined is joined. */
async function runs(device: Device, shapes: readonly (readonly number[])[], f: (inputs: readonly Tensor[], step: Tensor) => readonly Tensor[]): Promise<Float32Array[]> {
  const data = await Promise.all(shapes.map((shape, i) => normal(i + 1, shape.reduce((a, b) => a * b, 1))))
  const inputs = withDevice(device, () => shapes.map((shape, i) => tensor(data[i]!, { shape })))
  const program = withDevice(device, () => compile(f as (inputs: readonly Tensor[], step: Tensor) => readonly Tensor[]))
  const seen: Float32Array[] = []
  for (let i = 0; i < 6; i++) {
    const results = await program(inputs as never, i as never)
    for (const r of results) seen.push(Float32Array.from((await r.data()) as ArrayLike<number>))
    for (const r of results) r.dispose()
    // What is joined is compiled while the program runs on.
    if (device !== reference) await gpu().settled()
  }
  for (const t of inputs) t.dispose()
  return seen
}
async function sameAsReference(shapes: readonly (readonly number[])[], f: (inputs: readonly Tensor[], step: Tensor) => readonly Tensor[], tolerance = 2e-5): Promise<number> {
  const before = gpu().counts().merged, want = await runs(reference, shapes, f), got = await runs(gpu(), shapes, f)
  expect(got.length).toBe(want.length)
  got.forEach((values, i) => {
    const scale = want[i]!.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
    const bad = values.findIndex((v, j) => !(Math.abs(v - want[i]![j]!) <= tolerance * scale))
    expect(bad < 0 ? "" : `result ${i}, [${bad}]: ${values[bad]} instead of ${want[i]![bad]}`).toBe("")
  })
  return gpu().counts().merged - before
}

describe("kernels of one wave share a dispatch", () => {
  test("a chain has nothing to share", async () => {
    expect(await sameAsReference([[40, 40]], ([a], step) => [a!.matmul(a!).matmul(a!).add(step)])).toBe(0)
  })
  test("products of one row with several matrices, then maps with run-time scalars", async () => {
    const merged = await sameAsReference([[1, 64], [64, 48], [64, 32], [64, 80]], ([x, a, b, c], step) => {
      const normed = rmsNorm(x!), [p, q, r] = [normed.matmul(a!), normed.matmul(b!), normed.matmul(c!)]
      return [p!.mul(step), q!.add(step).exp(), r!.sub(step)]
    })
    expect(merged).toBeGreaterThan(0)
  })
  test("maps of 16-bit results, sums and extremes, each with memory of its own", async () => {
    const merged = await sameAsReference([[33, 70], [70, 33], [300]], ([a, b, c], step) => [
      a!.mul(2).cast("f16").cast("f32"), b!.sum({ axis: 0 }), a!.amax({ axis: 1 }).add(step), c!.sum(), c!.mul(c!).sum(), b!.add(step).cast("bf16"),
    ], 1e-2)
    expect(merged).toBeGreaterThan(0)
  })
})

test("integer products of normalized rows share one, also with pairs of them", async () => {
  const [k, n] = [64, 96], format = int(4, { group: 32 }), data = await Promise.all([1, 2, 3, 4].map((seed) => normal(seed, n * k)))
  const see = async (device: Device): Promise<number[]> => {
    const x = await normal(9, k), weights = data.map((w) => withDevice(device, () => quantizeWeight(format, w, [n, k], { activations: "int8" })))
    const program = withDevice(device, () => compile((x: Tensor, step: Tensor) => {
      const [a, b, c, d] = weights.map((w) => w.apply(rmsNorm(x))) as [Tensor, Tensor, Tensor, Tensor]
      return [a.add(step), b.relu(), silu(c).mul(d)]
    }))
    const seen: number[] = []
    using row = withDevice(device, () => tensor(x, { shape: [1, k] }))
    for (let i = 0; i < 6; i++) {
      for (const y of await program(row, i as never)) seen.push(...((await y.data()) as Float32Array))
      if (device !== reference) await gpu().settled()
    }
    return seen
  }
  const before = gpu().counts().merged, want = await see(reference), got = await see(gpu()), most = Math.max(...want.map(Math.abs))
  expect(got.findIndex((v, i) => !(Math.abs(v - want[i]!) <= 1e-4 * most))).toBe(-1)
  expect(gpu().counts().merged - before).toBe(1)
})

test("a cache that is written in place is read before and after by whom it should be", async () => {
  const f = (old: Tensor, x: Tensor, at: Tensor): { before: Tensor; cache: Tensor; after: Tensor } => {
    const cache = old.updateSlice(x, { axis: 0, start: at })
    return { before: x.mul(2), cache, after: cache.matmul(x.T) }
  }
  const see = async (device: Device): Promise<number[]> => {
    const x = await normal(5, 8)
    const [row, zero] = withDevice(device, () => [tensor(x, { shape: [1, 8] }), tensor(new Float32Array(64), { shape: [8, 8] })]) as [Tensor, Tensor]
    {
      const program = compile(f as (old: Tensor, x: Tensor, at: Tensor) => { before: Tensor; cache: Tensor; after: Tensor }, { donate: [0] })
      let cache = zero
      const seen: number[] = []
      for (let i = 0; i < 6; i++) {
        const made = await program(cache, row, BigInt(i) as never)
        cache = made.cache
        seen.push(...((await made.before.data()) as Float32Array), ...((await made.after.data()) as Float32Array))
        if (device !== reference) await gpu().settled()
      }
      return seen
    }
  }
  const want = await see(reference), got = await see(gpu())
  got.forEach((v, i) => expect(v).toBeCloseTo(want[i]!, 4))
})
