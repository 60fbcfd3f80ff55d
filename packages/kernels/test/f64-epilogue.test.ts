import { expect, test } from "vitest"
import { castTo, matmul, referenceDevice, tensor, useDevice, type Tensor } from "@thimble/core"
import { open } from "../src/open.ts"

const reference = referenceDevice()
/** Rows that fill vectors, and a rest that does not. */
const results = (): Tensor[] => {
  const a = tensor(Float32Array.from({ length: 9 * 40 }, (_, i) => Math.sin(i)), { shape: [9, 40] })
  const b = tensor(Float64Array.from({ length: 40 * 26 }, (_, i) => Math.cos(i)), { shape: [40, 26] })
  const bias = tensor(Float64Array.from({ length: 26 }, (_, i) => i / 3))
  const narrow = castTo(b, "f32")
  return [matmul(a, narrow).add(bias), matmul(narrow.T, a.T).add(castTo(bias, "f32").reshape([26, 1])), matmul(a, narrow).add(bias).cast("f32")]
}
test("an f32 product reads f64 operands and adds f64 numbers to its result", async () => {
  const device = await open("wasm", { threads: 2 })
  const got = await Promise.all(results().map((t) => t.data()))
  useDevice(reference)
  const want = await Promise.all(results().map((t) => t.data()))
  await device.close()
  got.forEach((g, i) => g.forEach((v, k) => expect(Math.abs(v - want[i]![k]!)).toBeLessThan(1e-5)))
})
