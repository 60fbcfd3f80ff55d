import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { grad, referenceDevice, tensor, ThimbleError, withDevice, type Device, type Tensor } from "@thimble/core"
import { open } from "../../kernels/src/index.ts"
import { fakeQuantize, initialSteps, int, lsqQuantize, type QuantizedFormat } from "../src/index.ts"
import { matrices } from "../src/laws/arbitrary.ts"
import type { Case } from "../src/laws/law.ts"
import { formats } from "./formats.ts"

const runs = Number(process.env.THIMBLE_RUNS ?? 40)
let devices: Device[]
beforeAll(async () => void (devices = [referenceDevice(), await open("wasm", { threads: 1 })]))
afterAll(async () => {
  for (const device of devices) await device.close()
})

/** What is stored of a matrix, or undefined where the format refuses it. */
function stored(format: QuantizedFormat, { values, shape }: Case): Float32Array | undefined {
  try {
    return format.decode(format.encode(values, shape), shape)
  } catch (e) {
    if (e instanceof ThimbleError) return undefined
    throw e
  }
}
const bits = (x: ArrayLike<number>): number[] => [...new Int32Array(Float32Array.from(x).buffer)]
const whole = (t: Tensor): Promise<number[]> => t.data().then((d) => [...d])

describe("H1: what training computes with is what is stored, to the bit", () => {
  const more = [int(8, { range: "asymmetric", scales: "f32" }), int(2, { group: 9, range: "asymmetric", scales: "f32" }), int(3, { scales: "bf16" }), int(4, { group: "tensor", scales: "f32" })]
  test.each([...formats, ...more].map((f) => [f.name, f] as const))("%s", (_, format) =>
    fc.assert(fc.asyncProperty(matrices(fc, format), async (c) => {
      const want = stored(format, c)
      if (want === undefined) return
      for (const device of "integers" in format ? devices : devices.slice(0, 1)) {
        const got = await withDevice(device, () => fakeQuantize(tensor(c.values, { shape: c.shape }), format).data())
        expect(bits(got), device.name).toEqual(bits(want))
      }
    }), { numRuns: "integers" in format ? runs : 10, seed: 1 }))
})

describe("H1: gradients pass straight through inside, and end outside", () => {
  test("on a grid that is given", async () => {
    const x = tensor([-10, -1.3, -1.2, 0.1, 0.74, 0.76, 9, 1e30]), rate = tensor([1, 2, 3, 4, 5, 6, 7, 8])
    const y = fakeQuantize(x, { scale: 0.5, zero: 1, low: -2, high: 3 })
    expect(await whole(y)).toEqual([-1.5, -1.5, -1, 0, 0.5, 1, 1, 1])
    expect(await whole(grad(y.mul(rate).sum(), [x])[0]!)).toEqual([0, 2, 3, 4, 5, 6, 0, 0])
  })
  test("of formats, everywhere: their range is that of the values", () =>
    fc.assert(fc.asyncProperty(fc.constantFrom(...formats.filter((f) => !f.name.startsWith("uint"))), fc.nat(1000), async (format, seed) => {
      const columns = 64 * Math.ceil((format.unit ?? 1) / 64), x = tensor(Float32Array.from({ length: 2 * columns }, (_, i) => Math.sin(i * 7 + seed)), { shape: [2, columns] })
      const dy = tensor(Float32Array.from({ length: 2 * columns }, (_, i) => i - 20), { shape: [2, columns] })
      expect(await whole(grad(fakeQuantize(x, format).mul(dy).sum(), [x])[0]!)).toEqual(await whole(dy))
    }), { numRuns: 20, seed: 1 }))
  test("of asymmetric integers, where the code is no code beyond the ends", async () => {
    // Half a step on both sides: z = round(0.5) = 0, and the largest lies a step off.
    const x = tensor([[-0.5, 14.5, 1]]), format = int(4, { range: "asymmetric" })
    expect(await whole(fakeQuantize(x, format))).toEqual([0, 14, 1])
    expect(await whole(grad(fakeQuantize(x, format).sum(), [x])[0]!)).toEqual([1, 1, 1])
  })
})

describe("learned steps", () => {
  const format = int(3, { group: 3, scales: "f32" })
  // Group 1 is ragged; top is 3.
  const values = [0.2, -0.7, 9, -9, 0.35], steps = [0.5, 0.25]
  test("their values are those of codes on the steps", async () => {
    const y = lsqQuantize(tensor([values]), { steps: tensor([steps]) }, format)
    expect(await whole(y)).toEqual([0, -0.5, 1.5, -0.75, 0.25])
  })
  test("H1: ∂/∂s is round(x/s) − x/s inside and qmin or qmax outside, times 1/√(n·qmax); ∂/∂x is 1 or 0", async () => {
    const x = tensor([values]), s = tensor([steps]), dy = tensor([[1, 2, 3, 4, 5]])
    const [dx, ds] = grad(lsqQuantize(x, { steps: s }, format).mul(dy).sum(), [x, s]) as [Tensor, Tensor]
    expect(await whole(dx)).toEqual([1, 2, 0, 0, 5])
    const scale = 1 / Math.sqrt(2.5 * 3)
    const want = [(0 - 0.4) * 1 + (-1 + 1.4) * 2 + 3 * 3, -3 * 4 + (1 - 1.4) * 5].map((v) => v * scale)
    for (const [i, v] of (await whole(ds)).entries()) expect(v).toBeCloseTo(want[i]!, 5)
  })
  test("zero points shift the ends: qmin − z and qmax − z", async () => {
    const two = int(2, { range: "asymmetric", scales: "f32" }), x = tensor([[-9, 9, 0.6]]), s = tensor([[1]])
    const y = lsqQuantize(x, { steps: s, zeros: tensor([[1]], { dtype: "i32" }) }, two)
    expect(await whole(y)).toEqual([-1, 2, 1])
    const [ds] = await whole(grad(y.mul(tensor([[1, 10, 100]])).sum(), [s])[0]!)
    expect(ds).toBeCloseTo((-1 + 20 + 100 * 0.4) / 3, 4)
  })
  test("they begin at 2·mean|w|/√qmax of their group's members", async () => {
    const { steps: first } = initialSteps(tensor([[1, -2, 3, -4, 0.5]]), format)
    const [a, b] = await whole(first)
    expect(a).toBeCloseTo((2 * 2) / Math.sqrt(3), 5)
    expect(b).toBeCloseTo((2 * 2.25) / Math.sqrt(3), 5)
  })
  test("what does not fit is refused", () => {
    expect(() => lsqQuantize(tensor([values]), { steps: tensor([0.5]) }, format)).toThrow("lsqQuantize: [1] steps for [1, 2] groups")
    expect(() => fakeQuantize(tensor([1]), { scale: 0, low: 0, high: 1 })).toThrow("fakeQuantize: the scale must be finite and > 0, got 0")
  })
})
