import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { add, compile, gelu, grad, matmul, mul, showKernel, sum, tensor, useDevice, referenceDevice, type Device, type Tensor } from "@thimble/core"
import { lower } from "../../core/src/lower.ts"
import { buildProgram } from "../../core/src/program.ts"
import { schedule } from "../../core/src/schedule.ts"
import { sharedLowering } from "../../core/src/sharing.ts"
import { devices } from "../src/devices.ts"
import { graphs, leavesOf, outputsOfGraph } from "../src/graphs.ts"
import { runs, seed } from "../src/runs.ts"

const x = (...shape: number[]): Tensor => tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)), { shape })

describe.each(devices.slice(0, 2))("kernels shared within a graph, on $name", ({ open }) => {
  let device: Device
  beforeAll(async () => void useDevice((device = await open())))
  afterAll(async () => {
    useDevice(referenceDevice())
    await device.close()
  })
  const kernels = (...outputs: Tensor[]): object[] => buildProgram(outputs, device).program.steps.flatMap((s) => (s.kind === "kernel" ? [s.kernel] : []))

  test("a group that shares its kernel gets the one it has alone, and its own operands", () => {
    let shared = 0, all = 0
    fc.assert(fc.property(graphs("none"), (g) => {
      // The graph and its gradients twice, on other leaves.
      const twice = [leavesOf(g), leavesOf(g)].flatMap((leaves) => {
        const loss = outputsOfGraph(g, leaves).map((y) => sum(mul(y, 0.5))).reduce(add)
        return [loss, ...grad(loss, [0, 2, 3].map((i) => leaves[i]!))]
      })
      const { groups } = schedule(twice.filter((t) => t.storage === undefined), device)
      const lowerShared = sharedLowering(), seen = new Set<object>()
      for (const group of groups) {
        if (group.root.kind === "routine") continue
        const own = lower(group), got = lowerShared(group)
        expect(showKernel(got.kernel)).toBe(showKernel(own.kernel))
        expect([...got.inputs, ...got.scalars].map((n) => n.tensor.id)).toEqual([...own.inputs, ...own.scalars].map((n) => n.tensor.id))
        all++
        if (seen.has(got.kernel)) shared++
        seen.add(got.kernel)
      }
    }), { numRuns: runs(60), seed })
    expect(shared).toBeGreaterThan(0.4 * all)
  })
  test("equal layers are lowered once; a layer of another width, constant or operand is not", () => {
    const layers = (widths: readonly number[], scale: (i: number) => number): Tensor => {
      let h = x(4, widths[0]!)
      widths.slice(1).forEach((w, i) => (h = mul(gelu(matmul(h, x(widths[i]!, w))), scale(i))))
      return h
    }
    const count = (y: Tensor): number => new Set(kernels(y)).size
    const equal = Array.from({ length: 9 }, () => 6), growing = equal.map((w, i) => w + i)
    // The first, those between, and the last.
    expect(count(layers(equal, () => 2))).toBeLessThanOrEqual(3)
    expect(count(layers(equal, (i) => i + 2))).toBeGreaterThanOrEqual(8)
    expect(count(layers(growing, () => 2))).toBeGreaterThanOrEqual(8)
  })
  test("an operand read twice is not two operands", () => {
    const products = (...pairs: [Tensor, Tensor][]): number => new Set(kernels(...pairs.map(([a, b]) => sum(mul(a, b))))).size
    const [a, b, c] = [x(4, 6), x(4, 6), x(4, 6)]
    expect(products([a, b], [b, c], [c, a])).toBe(1)
    expect(products([a, a], [b, b], [c, c])).toBe(1)
    expect(products([a, b], [b, b])).toBe(2)
  })
  test("run-time scalars of shared kernels stay apart", async () => {
    const step = compile((h: Tensor, a: Tensor, b: Tensor) => [sum(mul(h, a)), sum(mul(h, b)), sum(mul(h, add(a, b)))])
    const results = await step(x(3), 2, 5)
    const [one, two, both] = await Promise.all(results.map((t) => t.item()))
    expect(two! / one!).toBeCloseTo(2.5, 5)
    expect(both! / one!).toBeCloseTo(3.5, 5)
    step.dispose()
  })
})
