import { afterAll, beforeAll, expect, test } from "vitest"
import { add, expand, explain, grad, random, referenceDevice, reshape, scatterAdd, square, sum, take, tensor, useDevice, withDevice, type Device, type Tensor } from "@thimble/core"
import { open } from "../src/index.ts"

let one: Device, two: Device
beforeAll(async () => {
  one = await open("wasm", { threads: 1 })
  two = await open("wasm", { threads: 2 })
})
afterAll(async () => {
  useDevice(referenceDevice())
  await Promise.all([one.close(), two.close()])
})
const draw = async (shape: number[], integers?: number): Promise<number[]> =>
  [...await withDevice(referenceDevice(), () => (integers === undefined ? random.normal(random.key(7), shape) : random.randint(random.key(8), shape, { low: 0, high: integers })).data())]

for (const [outer, n, inner, size] of [[1, 40, 1, 7], [1, 9, 192, 5], [2, 33, 70, 11], [3, 1, 3, 1], [1, 100, 33, 256], [2, 5, 32, 3]] as const)
  for (const index of ["one per row", "one per element"] as const)
    test(`[${outer}, ${n}, ${inner}] to ${size} places, ${index}, is its expansion, on any number of threads`, async () => {
      const values = await draw([outer, n, inner]), places = await draw(index === "one per row" ? [outer, n, 1] : [outer, n, inner], size)
      const run = (device: Device): Promise<ArrayLike<number>> => withDevice(device, () => {
        const src = tensor(values, { shape: [outer, n, inner] })
        const at = tensor(places, { shape: [outer, n, index === "one per row" ? 1 : inner], dtype: "i32" })
        const y = add(scatterAdd(src, expand(at, [outer, n, inner]), 1, size), 1)
        if (device !== referenceDevice()) expect(explain(y)).toMatch(device.name === "wasm" ? /^out0 = scatterAdd/ : /reduce/)
        return y.data()
      })
      const [want, a, b] = [await run(referenceDevice()), await run(one), await run(two)]
      expect(b).toEqual(a)
      for (let i = 0; i < want.length; i++) expect(Math.abs(a[i]! - want[i]!)).toBeLessThanOrEqual(1e-5 * (1 + Math.abs(want[i]!)))
    })

test("the gradient of an embedding is one such kernel", async () => {
  const table = withDevice(two, () => tensor(Float32Array.from({ length: 50 * 20 }, (_, i) => Math.sin(i)), { shape: [50, 20] }))
  const ids = withDevice(two, () => tensor([3, 3, 49, 0], { dtype: "i32" }))
  const [g] = grad(sum(square(take(table, ids, 0))), [table]) as [Tensor]
  expect(explain(g)).toContain("scatterAdd")
  const rows = await reshape(g, [50, 20]).data(), values = await table.data()
  for (const [row, times] of [[3, 2], [49, 1], [0, 1], [7, 0]] as const)
    for (let c = 0; c < 20; c++) expect(rows[row * 20 + c]).toBeCloseTo(2 * times * values[row * 20 + c]!, 5)
})
