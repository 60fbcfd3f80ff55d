// Tensors larger than a binding: as if the adapter bound a few hundred bytes at a time.
import { describe, expect, test } from "vitest"
import { add, compile, embedding, quantizeWeight, tensor, updateSlice, useDevice, withDevice, type DType, type Tensor } from "@thimble/core"
import { int } from "../../compress/src/index.ts"
import { ggml } from "../../formats/src/ggml/index.ts"
import { check, gpu, normal, reference, withGpu } from "./wgsl.ts"

const bindingBytes = 4096
withGpu({ features: { bindingBytes, software: false } })

/** Elements of f32 in a few windows, the last of which is not full. */
const n = 2 * (bindingBytes / 4) + 700
const grid = (x: Float32Array, rows: number): Tensor => tensor(x, { shape: [rows, x.length / rows] })

describe("a tensor larger than a binding", () => {
  test("comes and goes", async () => {
    const x = await normal(1, n)
    expect(await withDevice(gpu(), () => tensor(x).data())).toEqual(x)
    expect(await withDevice(gpu(), async () => (await tensor(x).to(reference)).data())).toEqual(x)
  })
  test.each(["f32", "i32", "f16", "bf16", "i8", "u8", "bool"] as DType[])("is read and written by maps: %s", async (dtype) => {
    const x = await normal(2, n)
    await check(() => tensor(x).mul(50).cast(dtype).cast("f32").add(1))
    await check(() => grid(x, 4).mul(50).cast(dtype).T.cast("f32"))
  })
  test("is read by gathers, of known and of computed places", async () => {
    const x = await normal(3, 3072), ids = Int32Array.of(0, 95, 31, 32, 33, 64, 7)
    await check(() => embedding(grid(x, 96), tensor(ids)))
    await check(() => embedding(grid(x, 96), tensor(ids).add(tensor(ids)).sub(tensor(ids))))
    await check(() => grid(x, 96).cast("f16").take(tensor(ids)).cast("f32"))
  })
  test("is reduced along either axis, and to one number", async () => {
    const x = await normal(4, 3 * 1000)
    for (const axis of [0, 1]) await check(() => grid(x, 3).sum({ axis }), 1e-5)
    for (const axis of [0, 1]) await check(() => grid(x, 1000).amax({ axis }))
    await check(() => tensor(x).mean(), 1e-5, 1e-6)
  })
  test.each([1, 3, 20])("is multiplied: %i rows", async (m) => {
    const x = await normal(5, m * 64), w = await normal(6, 48 * 64)
    await check(() => grid(x, m).matmul(grid(w, 48).T), 1e-5)
    await check(() => grid(x, m).matmul(grid(w, 64)), 1e-5)
    await check(() => grid(x, m).matmul(grid(w, 48).cast("f16").T).add(1), 1e-5)
    await check(() => grid(x, m).cast("f32").matmul(grid(w, 48).T).cast("f16").cast("f32"), 1e-3)
  })
  for (const [name, format] of Object.entries({ "int8, groups of 64": int(8, { group: 64 }), Q4_K: ggml.Q4_K, Q6_K: ggml.Q6_K }))
    test(`is multiplied as it is stored: ${name}`, async () => {
      const [rows, k] = [37, 256], w = await normal(7, rows * k)
      for (const m of [1, 9]) {
        const x = await normal(m, m * k)
        for (const activations of ["int8", "f32"] as const) await check(() => quantizeWeight(format, w, [rows, k], { activations }).apply(tensor(x, { shape: [m, k] })), 1e-5)
      }
    })
  test("holds keys and values", async () => {
    const q = await normal(8, 4 * 32), k = await normal(9, 2 * 40 * 32), v = await normal(10, 2 * 40 * 32)
    const keys = (x: Float32Array): Tensor => tensor(x, { shape: [1, 2, 40, 32] })
    await check(() => tensor(q, { shape: [1, 4, 1, 32] }).attention(keys(k), keys(v)), 1e-5)
    await check(() => tensor(q, { shape: [1, 2, 2, 32] }).attention(keys(k), keys(v), { causal: true }), 1e-5)
  })
  test.each(["f32", "f16"] as DType[])("is replaced in part, in place: %s", async (dtype) => {
    const rows = n / 4
    const run = async (): Promise<ArrayLike<number>> => {
      const step = compile((cache: Tensor, x: Tensor, at: Tensor | bigint) => updateSlice(cache, x, { start: at as Tensor }), { donate: [0] })
      let cache = tensor(new Float32Array(2 * n), { shape: [2 * rows, 4] }).cast(dtype)
      for (const at of [0, 255, 256, 511, 512, 513, 1000]) {
        const next = await step(cache, tensor(Float32Array.from({ length: 4 }, (_, i) => at + i), { shape: [1, 4] }).cast(dtype), BigInt(at))
        cache = next
      }
      return cache.cast("f32").data()
    }
    useDevice(reference)
    const want = await run()
    useDevice(gpu())
    expect(await run()).toEqual(want)
  })
})

test("more windows than an adapter binds: an error that tells sizes and what to do; the device goes on", async () => {
  const many = bindingBytes / 4 * (gpu().features.bindings - 1) + 4
  const x = withDevice(gpu(), () => tensor(new Float32Array(many).fill(2)))
  const refused = add(x, 1).data()
  await expect(refused).rejects.toMatchObject({ code: "memory", message: expect.stringMatching(/the adapter binds \d+ buffers of at most 4096 bytes, and this takes \d+ of 4096 \(it reads or writes tensors of \d+, \d+ bytes\); store large tensors in fewer bits/) })
  expect((await x.data()).every((v) => v === 2)).toBe(true)
})
