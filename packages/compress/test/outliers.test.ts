import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { compile, f16Bits, f16Value, tensor, useDevice, referenceDevice, type Device, type Tensor, type Weight } from "@thimble/core"
import { devices } from "../../conformance/src/devices.ts"
import { int, splitOutliers } from "../src/index.ts"

const shape = [6, 64] as const, far = [40, 3, 17]
const values = Float32Array.from({ length: 6 * 64 }, (_, i) => f16Value(f16Bits(Math.sin(i * i))))
const x = Float32Array.from({ length: 2 * 64 }, (_, i) => Math.cos(i) * (far.includes(i % 64) ? 60 : 1))

describe.each(devices)("outlier columns on $name", ({ open }) => {
  let device: Device
  beforeAll(async () => void useDevice((device = await open())))
  afterAll(async () => {
    useDevice(referenceDevice())
    await device.close()
  })

  test("they are kept as they are; the others are those of the format, with nothing in their place", async () => {
    const dense = await splitOutliers(values, shape, { columns: far }).dense().data(), format = int(8)
    const rest = values.map((v, i) => (far.includes(i % 64) ? 0 : v)), decoded = format.decode(format.encode(rest, shape), shape)
    dense.forEach((v, i) => expect(v).toBe(far.includes(i % 64) ? values[i]! + 0 : decoded[i]! + 0))
  })
  test("look-ups are rows of the matrix, products are those with it, rounding only what is no outlier", async () => {
    const weight = splitOutliers(values, shape, { columns: far }), dense = await weight.dense().data()
    expect([...await weight.rows(tensor([4, 1], { dtype: "i32" })).data()]).toEqual([...dense.slice(256, 320), ...dense.slice(64, 128)])
    const y = await weight.apply(tensor(x, { shape: [2, 64] })).data()
    const plain = await splitOutliers(values, shape, { columns: [] }).apply(tensor(x, { shape: [2, 64] })).data()
    let worst = 0, worstPlain = 0
    for (let t = 0; t < 2; t++)
      for (let r = 0; r < 6; r++) {
        let want = 0, exact = 0
        for (let c = 0; c < 64; c++) {
          want += x[t * 64 + c]! * dense[r * 64 + c]!
          exact += x[t * 64 + c]! * values[r * 64 + c]!
        }
        // Half of 1/127 for each of the inputs that are rounded, none of which is beyond 1.
        expect(Math.abs(y[t * 6 + r]! - want)).toBeLessThanOrEqual((64 / 254) * 1.0001 + 1e-4)
        worst = Math.max(worst, Math.abs(y[t * 6 + r]! - exact))
        worstPlain = Math.max(worstPlain, Math.abs(plain[t * 6 + r]! - exact))
      }
    expect(worst).toBeLessThan(worstPlain / 4)
  })
  test("a compiled function takes it apart and puts it together", async () => {
    const weight = splitOutliers(values, shape, { columns: far }), run = compile((w: Weight, x: Tensor) => w.apply(x))
    const input = tensor(x, { shape: [2, 64] })
    expect([...await (await run(weight, input)).data()]).toEqual([...await weight.apply(input).data()])
    expect(weight.bytes).toBe(6 * 64 + 6 * 2 + 6 * 4 * 2 + 3 * 4)
  })
})

test("columns that are none are refused", () => {
  expect(() => splitOutliers(values, shape, { columns: [64] })).toThrow("splitOutliers: column 64 is none of 64, or stands twice")
  expect(() => splitOutliers(values, shape, { columns: [1, 1] })).toThrow("stands twice")
  expect(() => splitOutliers(values.with(3, 1e6), shape, { columns: [3] })).toThrow("row 0, column 3 is 1000000, which f16 does not hold")
})
