// Products that run on matrices of subgroups, where the adapter has them; elsewhere the same laws hold for what runs instead.
import { describe, expect, test } from "vitest"
import { quantizeWeight, tensor, type Tensor } from "@thimble/core"
import { int } from "../../compress/src/index.ts"
import { ggml } from "../../formats/src/ggml/index.ts"
import { templateFor } from "../src/wgsl/template/index.ts"
import { matricesOf } from "../src/wgsl/template/matrices.ts"
import { check, gpu, normal, withGpu } from "./wgsl.ts"

withGpu()

test("are used where the driver has them", () => {
  const { features, gpu: { features: own } } = gpu(), { half, subgroup } = features
  const offered = half && subgroup?.least === subgroup?.most && (own as ReadonlySet<string>).has("chromium-experimental-subgroup-matrix")
  expect(matricesOf(features) !== undefined).toBe(offered)
  expect(templateFor("quantizedMatmul", { m: 20, n: 70, k: 512, group: 32, low: -8, high: 7 }, features) !== undefined).toBe(offered)
})

describe("products of halves", () => {
  /** batch, m, k, n: full tiles, ragged ones, many workgroups. */
  for (const [batch, m, k, n] of [[1, 64, 64, 64], [1, 70, 40, 200], [2, 33, 96, 64], [1, 640, 64, 640]] as const)
    for (const [left, right] of m === 640 ? [["rows", "columns"] as const] : [["rows", "rows"], ["rows", "columns"], ["columns", "rows"]] as const)
      test(`${batch} × [${m}, ${k}] by ${left} × [${k}, ${n}] by ${right}`, async () => {
        const x = await normal(1, batch * m * k), y = await normal(2, batch * k * n), bias = await normal(3, n)
        const lay = (data: Float32Array, [rows, columns]: readonly [number, number], by: string): Tensor =>
          by === "rows" ? tensor(data, { shape: [batch, rows, columns], dtype: "f16" }) : tensor(data, { shape: [batch, columns, rows], dtype: "f16" }).transpose(1, 2)
        await check(() => lay(x, [m, k], left).matmul(lay(y, [k, n], right)).cast("f32").add(tensor(bias)), 1e-3)
      })
})

describe("many rows times codes", () => {
  const formats = { "int4, groups of 32": int(4, { group: 32 }), "int8, per row": int(8), "int4 with zeros": int(4, { group: 32, range: "asymmetric" }), Q4_K: ggml.Q4_K, Q6_K: ggml.Q6_K }
  for (const [format, m, n, k] of [["int4, groups of 32", 20, 70, 512], ["int8, per row", 64, 64, 96], ["int4 with zeros", 130, 33, 64], ["Q4_K", 9, 40, 256], ["Q6_K", 9, 40, 256]] as const)
    test(`[${m}, ${k}] × [${n}, ${k}]ᵀ in ${format}`, async () => {
      const w = await normal(n, n * k), x = await normal(m, m * k)
      await check(() => quantizeWeight(formats[format], w, [n, k], { activations: "int8" }).apply(tensor(x, { shape: [m, k] })).relu(), 4e-6)
    })
  test("rows and columns of all sizes, some of zeros", async () => {
    const [m, n, k] = [12, 36, 128], w = await normal(1, n * k), x = await normal(2, m * k)
    const sized = (data: Float32Array, count: number, from: number): Float32Array => data.map((v, i) => (Math.floor(i / k) === 3 ? 0 : v * 10 ** (from + (Math.floor(i / k) * 20) / count)))
    // Each result by the scales of its row and column: they differ by many orders of magnitude.
    const back = (count: number, from: number): Float32Array => Float32Array.from({ length: count }, (_, i) => 10 ** -(from + (i * 20) / count))
    await check(() => quantizeWeight(int(8, { scales: "f32" }), sized(w, n, -2), [n, k], { activations: "int8" }).apply(tensor(sized(x, m, -12), { shape: [m, k] }))
      .mul(tensor(back(m, -12), { shape: [m, 1] })).mul(tensor(back(n, -2))), 4e-6)
  })
})

describe("many rows of f32 times weights in fewer bits", () => {
  for (const [dtype, m, n, k] of [["bf16", 20, 70, 520], ["f16", 33, 64, 72]] as const)
    test(`[${m}, ${k}] × [${n}, ${k}]ᵀ in ${dtype}`, async () => {
      const w = await normal(n, n * k), x = await normal(m, 2 * m * k)
      await check(() => tensor(x, { shape: [2, m, k] }).mul(1.5).matmul(tensor(w, { shape: [n, k], dtype }).cast("f32").T).relu(), 4e-6)
    })
  test("codes", async () => {
    const [m, n, k] = [40, 36, 256], w = await normal(n, n * k), x = await normal(m, m * k)
    await check(() => quantizeWeight(int(4, { group: 32 }), w, [n, k]).apply(tensor(x, { shape: [m, k] })), 4e-6)
  })
  test("infinities and NaN reach the results that are made of them, and no others", async () => {
    const [m, n, k] = [12, 36, 64], w = await normal(n, n * k), x = await normal(m, m * k)
    x[5 * k + 3] = Infinity
    x[7 * k + 9] = NaN
    w[2 * k + 40] = -Infinity
    for (const at of [0, 8]) w[30 * k + at] = 0
    await check(() => tensor(x, { shape: [m, k] }).matmul(tensor(w, { shape: [n, k], dtype: "f16" }).cast("f32").T), 4e-6)
  })
})
