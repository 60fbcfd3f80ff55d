import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { add, compile, grad, memory, mul, referenceDevice, sum, tensor, type Device, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { devices } from "../src/devices.ts"
import { graphs, leavesOf, outputsOfGraph, outputsOneByOne, type Graph } from "../src/graphs.ts"
import { difference, evaluate, stride, type Result } from "../src/measure.ts"
import { runs, seed } from "../src/runs.ts"
import type { Bound } from "../src/table/row.ts"
import { uniform } from "../src/table/spec.ts"

const reference = referenceDevice()
/** Of values about 1: forty steps of a few roundings each, amplified by norms. A wrong element is off by far more. */
const near: Bound = { scale: 3e-4 }

type Way = (graph: Graph) => Promise<Result[]>
const run = (device: Device, make: (graph: Graph) => Promise<Tensor[]> | Tensor[]): Way => async (graph) => (await evaluate(device, async () => [await make(graph)]))[0]!
/** All nodes in one program. */
const together = (device: Device): Way => run(device, (g) => outputsOfGraph(g, leavesOf(g)))
const apart = (device: Device): Way => run(device, (g) => outputsOneByOne(g, leavesOf(g)))
const compiled = (device: Device): Way => run(device, async (g) => {
  const f = compile((leaves: Tensor[]) => outputsOfGraph(g, leaves))
  try {
    return await f(leavesOf(g))
  } finally {
    f.dispose()
  }
})
/** Every composite by its expansion. */
const expanding = (device: Device): Device => ({ ...device, name: `${device.name}, expanding`, accepts: () => false })

const numbersFor = (t: Tensor, salt: number): Tensor => {
  const random = uniform(salt)
  return tensor(Float64Array.from({ length: t.size }, () => random() * 2 - 1), { shape: t.shape, dtype: t.dtype })
}
const lossOf = (outputs: readonly Tensor[]): Tensor => outputs.map((y, i) => sum(mul(y, numbersFor(y, i + 1)))).reduce(add)
/** Gradients of the float leaves. */
const gradients = (device: Device): Way => run(device, (g) => {
  const leaves = leavesOf(g), wanted = [0, 2, 3].map((i) => leaves[i]!)
  return grad(lossOf(outputsOfGraph(g, leaves)), wanted)
})

/** Two ways give the same; the memory is as it was. */
function agree(arbitrary: fc.Arbitrary<Graph>, few: number, got: Way, want: Way, bound: Bound): Promise<void> {
  return fc.assert(fc.asyncProperty(arbitrary, async (graph) => {
    const before = memory()
    const [a, b] = [await got(graph), await want(graph)]
    expect(a.length).toBe(b.length)
    expect(a.map((r, i) => difference(r, b[i]!, bound, 1)).filter((d) => d !== undefined)).toEqual([])
    expect([memory().bytes, memory().tensors]).toEqual([before.bytes, before.tensors])
  }), { numRuns: runs(few), seed, interruptAfterTimeLimit: 25_000 })
}

test("on the reference device: fused, one by one, and compiled give the same bits", async () => {
  await agree(graphs("none", { sizes: [4, 3, 1] }), 20, together(reference), apart(reference), "exact")
  await agree(graphs("none", { sizes: [4, 3, 1] }), 5, together(reference), compiled(reference), "exact")
})
test("gradients are slopes, in f64", () => fc.assert(fc.asyncProperty(graphs("smooth", { sizes: [3, 4, 1], most: 20 }), async (g) => {
  const [[slope, ahead, behind]] = await evaluate(reference, async () => {
    const at = (step: number): Tensor[] => leavesOf(g, "f64").map((x, i) => add(x, mul(numbersFor(x, 50 + i), step)))
    const leaves = at(0)
    const found = grad(lossOf(outputsOfGraph(g, leaves)), leaves)
    return [[found.map((d, i) => sum(mul(d, numbersFor(d, 50 + i)))).reduce(add), lossOf(outputsOfGraph(g, at(stride))), lossOf(outputsOfGraph(g, at(-stride)))]]
  }) as [[Result, Result, Result]]
  const measured = (ahead.numbers[0]! - behind.numbers[0]!) / (2 * stride)
  expect(Math.abs(slope.numbers[0]! - measured)).toBeLessThan(1e-5 * Math.max(1, Math.abs(measured)))
}), { numRuns: runs(20), seed }))

describe.each(devices.slice(1))("random graphs on $name", ({ open: start }) => {
  let device: Device
  beforeAll(async () => void (device = await start()))
  afterAll(() => device.close())

  test("fused and one by one: the same bits without sums", () => agree(graphs("exact"), 15, together(device), apart(device), "exact"))
  test("fused and one by one: near with sums", () => agree(graphs("continuous"), 10, together(device), apart(device), near))
  test("compiled: the same bits", () => agree(graphs("none"), 8, compiled(device), together(device), "exact"))
  test("tuned kernels and expansions", () => agree(graphs("continuous", { sizes: [4, 13, 33] }), 8, together(device), together(expanding(device)), near))
  test("the reference device's values", () => agree(graphs("continuous"), 15, together(device), together(reference), near))
  test("the reference device's gradients", () => agree(graphs("smooth", { most: 20 }), 10, gradients(device), gradients(reference), near))
})

describe("threads", () => {
  let one: Device, two: Device
  beforeAll(async () => {
    one = await open("wasm", { threads: 1 })
    two = await open("wasm", { threads: 2 })
  })
  afterAll(async () => {
    await one.close()
    await two.close()
  })
  test("one or two: the same bits", () => agree(graphs("none", { sizes: [70, 200] }), 10, together(two), together(one), "exact"))
  test("one or two: the same bits of gradients", () => agree(graphs("none", { sizes: [70, 130], most: 15 }), 5, gradients(two), gradients(one), "exact"))
})
