import fc from "fast-check"
import { compile, grad, quantizeWeight, roundActivations, tensor, tensorsOf, type Tensor, type Weight } from "@thimble/core"
import { beforeAll, describe, expect, test } from "vitest"
import { open } from "../../kernels/src/index.ts"
import { smallModel } from "../../models/test/random-model.ts"
import { activationGrid, int, prepare, convert, withActivations } from "../src/index.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})
const values = (n: number, seed = 1): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3)
/** Sixteen tokens. */
const tokens = (): Tensor => tensor(Int32Array.from({ length: 16 }, (_, i) => (i * 7) % 40), { shape: [1, 16] })

describe("grids of ranges", () => {
  test("A1: what lies in the range is at most half a step off, and 0 stays 0", () =>
    fc.assert(fc.asyncProperty(fc.double({ min: -100, max: 100, noNaN: true }), fc.double({ min: 0, max: 50, noNaN: true }), fc.constantFrom("symmetric", "asymmetric"), async (low, width, range) => {
      const grid = activationGrid([low, low + width], { range }), x = Float32Array.from({ length: 64 }, (_, i) => low + (width * i) / 63)
      const back = await roundActivations(tensor([[0, ...x]]), grid).data()
      expect(back[0]).toBe(0)
      // The zero point is rounded: an end may lie half a step beyond the codes.
      x.forEach((v, i) => expect(Math.abs(back[i + 1]! - v)).toBeLessThanOrEqual(grid.scale * (range === "symmetric" ? 0.5001 : 1.0001) + 1e-6))
    }), { numRuns: 50, seed: 1 }))
  test("one-sided activations have finer steps with a zero point", () => {
    expect(activationGrid([0, 25.5], { range: "asymmetric" })).toEqual({ scale: Math.fround(0.1), zero: -128 })
    expect(activationGrid([-25.4, 3])).toEqual({ scale: Math.fround(0.2) })
    expect(activationGrid([0, 0])).toEqual({ scale: 1 })
    expect(() => activationGrid([NaN, 1])).toThrow("activationGrid: a range goes from its least to its largest number, got NaN … 1")
  })
})

test("a scale is an argument: matrices with others share a program, and it goes with the tree", async () => {
  const make = (scale: number): Weight => quantizeWeight(int(8), values(4 * 64), [4, 64], { activations: { scale } }), x = tensor(values(64, 2), { shape: [1, 64] })
  const run = compile((w: Weight, x: Tensor) => w.apply(x))
  for (const scale of [0.1, 0.02, 0.5]) {
    const weight = make(scale), got = await (await run(weight, x)).data(), exact = await roundActivations(x, { scale }).linear(weight.dense()).data()
    got.forEach((y, i) => expect(y).toBeCloseTo(exact[i]!, 3))
  }
  expect(run.programs).toBe(1)
  const weight = make(0.25), { activations } = weight.withParts(weight.parts())
  expect(weight.bytes).toBe(4 * 64 + 4 * 2 + 4)
  expect(await ((activations as { scale: Tensor }).scale).item()).toBe(0.25)
})

test("gradients pass through the rounding of activations, and end beyond a grid", async () => {
  const x = tensor([[0.3, 9, -9, 0.1]]), w = quantizeWeight(int(8, { scales: "f32" }), Float32Array.of(127, -127, 63, 2), [1, 4], { activations: { scale: 0.05 } })
  expect([...await grad(w.apply(x).sum(), [x])[0]!.data()]).toEqual([127, 0, 0, 2])
  const each = quantizeWeight(int(8, { scales: "f32" }), Float32Array.of(127, -127, 63, 2), [1, 4], { activations: "int8PerToken" })
  expect([...await grad(each.apply(x).sum(), [x])[0]!.data()]).toEqual([127, -127, 63, 2])
})

test("W8A8: ranges seen in calibration become grids of a model's matrices, and its logits stay near", async () => {
  const model = smallModel("llama"), ids = tokens(), want = [...await model.forward(ids).data()]
  const seen = new Map<string, Tensor>()
  model.forward(ids, { observe: (path, x) => void seen.set(path, x) })
  const ranges = new Map<string, readonly [number, number]>()
  for (const [path, x] of seen) {
    const all = [...await x.data()]
    ranges.set(path, [Math.min(...all), Math.max(...all)])
  }
  const eight = await convert(await prepare(model, { default: int(8) }))
  const share = (got: ArrayLike<number>): number => Math.sqrt(want.reduce((s, v, i) => s + (v - got[i]!) ** 2, 0) / want.reduce((s, v) => s + v * v, 0))
  for (const range of ["symmetric", "asymmetric"] as const) {
    const grids = withActivations(eight, (path) => ranges.has(path) ? activationGrid(ranges.get(path)!, { range }) : undefined)
    expect(share(await grids.forward(ids).data())).toBeLessThan(0.1)
    expect(tensorsOf(grids).length).toBe(tensorsOf(eight).length + ranges.size)
  }
  expect(share(await withActivations(eight, () => "int8PerToken").forward(ids).data())).toBeLessThan(0.05)
  // And back.
  expect(await withActivations(withActivations(eight, () => "int8PerToken"), () => "f32").forward(ids).data()).toEqual(await eight.forward(ids).data())
  // What is trained with a grid sees it, too.
  const trained = await prepare(model, { default: int(8), activations: (path) => activationGrid(ranges.get(path) ?? [-1, 1]) }), stored = await convert(trained)
  const [a, b] = [await trained.forward(ids).data(), await stored.forward(ids).data()]
  a.forEach((v, i) => expect(v).toBeCloseTo(b[i]!, 4))
  expect(() => withActivations(model, () => "int8")).toThrow("withActivations: model.embed_tokens is stored in f32")
})

test("activations that are no way to round are refused", () => {
  const make = (activations: unknown) => () => quantizeWeight(int(8), values(4), [1, 4], { activations: activations as "int8" })
  expect(make("int7")).toThrow("quantizeWeight: activations must be f32, int8, int8PerToken or a scale, got int7")
  expect(make({ scale: -1 })).toThrow("quantizeWeight: activations need one scale > 0, got -1")
  expect(make({ scale: 1, zero: 300 })).toThrow("quantizeWeight: the zero point of activations must be a whole number −128 … 127, got 300")
})
