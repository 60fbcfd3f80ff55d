import { describe, test } from "vitest"
import { quantizedWeight, quantizeWeight, tensor, uploadParts, type DType, type Tensor } from "@thimble/core"
import { int } from "../../compress/src/index.ts"
import { ggml } from "../../formats/src/ggml/index.ts"
import { check, normal, withGpu } from "./wgsl.ts"

// Integer products as on GPUs.
withGpu({ features: { software: false } })

type Layout = "rows" | "columns" | "f16"
const lay = (x: Float32Array, [batch, rows, columns]: readonly [number, number, number], layout: Layout): Tensor =>
  layout === "columns" ? tensor(x, { shape: [batch, columns, rows] }).transpose(1, 2) : tensor(x, { shape: [batch, rows, columns] }).cast(layout === "f16" ? "f16" : "f32")

/** batch, m, k, n: tiles that are full and that are not, few rows, few columns, long sums. */
const sizes = [[1, 64, 64, 64], [1, 130, 33, 70], [2, 40, 50, 60], [3, 33, 18, 37], [1, 1, 256, 300], [1, 3, 37, 21], [2, 8, 1100, 40], [1, 300, 65, 2], [1, 2, 5, 9001], [2, 1, 1, 1]] as const
describe.each(sizes)("%i × [%i, %i] × [.., %i]", (batch, m, k, n) => {
  for (const [a, b] of [["rows", "rows"], ["rows", "columns"], ["columns", "rows"], ["f16", "columns"]] as const)
    test(`operands by ${a} and by ${b}`, async () => {
      const x = await normal(1, batch * m * k), y = await normal(2, batch * k * n)
      await check(() => lay(x, [batch, m, k], a).cast("f32").matmul(lay(y, [batch, k, n], b)), 2e-6 * Math.sqrt(k) + 1e-6)
    })
  test("computed operands, epilogues, other types", async () => {
    const x = await normal(1, batch * m * k), y = await normal(2, batch * k * n), bias = await normal(3, n)
    const product = (): Tensor => lay(x, [batch, m, k], "rows").mul(2).sub(0.5).matmul(lay(y, [batch, k, n], "rows").abs())
    await check(() => product().add(tensor(bias)).relu(), 2e-5)
    if (batch > 1) for (const dtype of ["f16", "i32"] as DType[]) await check(() => product().cast(dtype).cast("f32"), 1e-3, dtype === "i32" ? 1 : 0)
  })
})

describe("few rows, or columns, that are computed are so once, where many read them", () => {
  for (const [m, k, n] of [[2, 37, 300], [300, 37, 2], [1, 64, 256], [3, 50, 320]] as const)
    for (const right of ["rows", "columns"] as const)
      test(`[${m}, ${k}] by ${right} × [${k}, ${n}]`, async () => {
        const x = await normal(1, 2 * m * k), y = await normal(2, 2 * k * n), lies = (of: Tensor): Tensor => (right === "rows" ? of : of.transpose(1, 2))
        const [a, b] = [{ data: x, shape: [2, m, k] }, { data: y, shape: right === "rows" ? [2, k, n] : [2, n, k] }].map(({ data, shape }) => () => tensor(data, { shape })) as [() => Tensor, () => Tensor]
        await check(() => (m <= n ? a().silu().matmul(lies(b())) : a().matmul(lies(b().silu()))))
      })
})

describe("weights in few bits", () => {
  const formats = { "int8, per row": int(8), "int8, groups of 64": int(8, { group: 64 }), "int4, groups of 32": int(4, { group: 32 }), "int4, per row": int(4), Q4_K: ggml.Q4_K, Q5_1: ggml.Q5_1, Q6_K: ggml.Q6_K, IQ4_NL: ggml.IQ4_NL, TQ2_0: ggml.TQ2_0 }
  for (const [name, format] of Object.entries(formats))
    for (const activations of ["int8", "f32"] as const)
      test(`${name}, ${activations} activations: rows from one to many`, async () => {
        const [n, k] = [37, 512], w = await normal(5, n * k)
        for (const m of [1, 3, 20]) {
          const x = await normal(m, m * k)
          await check(() => quantizeWeight(format, w, [n, k], { activations }).apply(tensor(x, { shape: [m, k] })), 1e-5)
        }
      })
  test("codes of −128, and activations of zero", async () => {
    const n = 3, k = 320, codes = Int8Array.from({ length: n * k }, (_, i) => (i % 3 === 0 ? -128 : (i * 7) % 256 - 128)), scales = new Uint16Array(n * (k / 32)).fill(0x2c00)
    const weight = () => quantizedWeight(int(8, { group: 32 }), [n, k], uploadParts({ codes: { data: codes, shape: [n, k], dtype: "i8" }, scales: { data: scales, shape: [n, k / 32], dtype: "f16" } }), { activations: "int8" })
    await check(() => weight().apply(tensor(Float32Array.from({ length: k }, (_, i) => (i < 32 ? 0 : Math.cos(i))), { shape: [1, k] })), 1e-5)
    await check(() => weight().apply(tensor(new Float32Array(k), { shape: [1, k] })))
  })
})
