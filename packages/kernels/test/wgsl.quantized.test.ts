import { describe, test } from "vitest"
import { int } from "../../compress/src/index.ts"
import { ggml } from "../../formats/src/ggml/index.ts"
import { quantizeWeight, tensor } from "@thimble/core"
import { check, normal, withGpu } from "./wgsl.ts"

withGpu()

const formats = { "int8, per row": int(8), "int8, groups of 64": int(8, { group: 64 }), "int4, groups of 32": int(4, { group: 32 }), "int4 with zeros": int(4, { group: 32, range: "asymmetric" }), Q4_K: ggml.Q4_K, Q6_K: ggml.Q6_K }
const sizes = [[1, 5, 256], [2, 33, 768], [3, 17, 512], [8, 9, 256]] as const

for (const [name, format] of Object.entries(formats))
  describe(name, () => {
    for (const [m, n, k] of sizes)
      test(`[${m}, ${k}] × [${n}, ${k}]ᵀ on integers is what its expansion says`, async () => {
        const w = await normal(n, n * k), x = await normal(m, m * k)
        await check(() => quantizeWeight(format, w, [n, k], { activations: "int8" }).apply(tensor(x, { shape: [m, k] })), 1e-5)
      })
    test("activations that are computed, rows of zeros", async () => {
      const [m, n, k] = [2, 20, 256], w = await normal(7, n * k), x = await normal(8, m * k)
      await check(() => quantizeWeight(format, w, [n, k], { activations: "int8" }).apply(tensor(x, { shape: [m, k] }).relu().mul(tensor([[0], [1]]))).add(1), 1e-5)
    })
  })

// Many rows, many terms, and more activations than workgroup memory holds.
for (const [m, n, k] of [[1, 4100, 64], [1, 9, 4096], [8, 5, 8192]] as const)
  test(`[${m}, ${k}] × [${n}, ${k}]ᵀ`, async () => {
    const w = await normal(n, n * k), x = await normal(m, m * k)
    await check(() => quantizeWeight(int(4, { group: 32 }), w, [n, k], { activations: "int8" }).apply(tensor(x, { shape: [m, k] })), 1e-5)
  })
