import { describe, expect, test } from "vitest"
import { crossEntropy, embedding, expand, explain, random, scatterAdd, tensor, valueAndGrad, withDevice, type Tensor } from "@thimble/core"
import { templateFor } from "../src/wgsl/template/index.ts"
import { check, gpu, normal, reference, withGpu } from "./wgsl.ts"

withGpu()

const draw = async (count: number, below: number): Promise<Int32Array> => withDevice(reference, () => random.randint(random.key(8), [count], { low: -1, high: below + 1 }).data()) as Promise<Int32Array>

/** outer, n, inner, size: rows that fill a workgroup and that do not, more rows than are marked at once, one neighbour, places of which most get nothing. */
describe.each([[1, 40, 1, 7], [1, 9, 192, 5], [2, 33, 70, 11], [3, 1, 3, 1], [1, 300, 33, 256], [2, 600, 5, 3], [1, 20, 1100, 4], [1, 2, 8, 5000]] as const)("[%i, %i, %i] to %i places", (outer, n, inner, size) => {
  for (const index of ["one per row", "one per element"] as const)
    test(`${index} is its expansion, the same each time`, async () => {
      const own = index === "one per row" ? 1 : inner, values = await normal(7, outer * n * inner), places = await draw(outer * n * own, size)
      const make = (): Tensor => scatterAdd(tensor(values, { shape: [outer, n, inner] }), expand(tensor(places, { shape: [outer, n, own], dtype: "i32" }).add(0), [outer, n, inner]), 1, size).mul(2).add(1)
      expect(withDevice(gpu(), () => explain(make()))).toContain("scatterAdd")
      const first = await check(make), second = await withDevice(gpu(), () => make().data())
      expect(second).toEqual(first)
    })
})

test("few places of many rows are left to the reduction, which shares them out", () => {
  const accepts = (outer: number, n: number, inner: number, size: number): boolean => templateFor("scatterAdd", { outer, n, inner, size }, gpu().features) !== undefined
  expect([accepts(1, 1_000_000, 1, 10), accepts(1, 4096, 768, 2), accepts(1, 4096, 768, 32000), accepts(1, 256, 768, 2), accepts(1, 0, 4, 4)]).toEqual([false, false, true, true, false])
})

test("whole numbers stay whole", async () => {
  await check(() => scatterAdd(tensor(Int32Array.from({ length: 24 }, (_, i) => i - 7), { shape: [1, 6, 4] }), expand(tensor([2, 0, 2, 1, 0, 2], { dtype: "i32" }).reshape([1, 6, 1]), [1, 6, 4]), 1, 3).cast("f32"), 0)
})

test("the gradient of an embedding", async () => {
  const [vocabulary, width, tokens] = [500, 48, 70], w = await normal(1, vocabulary * width), ids = (await draw(tokens, vocabulary - 2)).map((i) => Math.max(0, i))
  const loss = (w: Tensor): Tensor => crossEntropy(embedding(w, tensor(ids)), tensor(ids.map((i) => i % width)))
  await check(() => valueAndGrad(loss)(tensor(w, { shape: [vocabulary, width] })).grads)
})
