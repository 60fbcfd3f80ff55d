// Long sums of few results: several workgroups share the terms.
import { describe, expect, test } from "vitest"
import { tensor, withDevice, type DType, type Tensor } from "@thimble/core"
import { sharesFor } from "../src/wgsl/template/tile.ts"
import { webgpuDevice } from "../src/webgpu/device.ts"
import { check, normal, withGpu } from "./wgsl.ts"

withGpu()

const adapter = { sharedBytes: 32768, threads: 256 }

describe("parts of sums", () => {
  test("are many only where tiles are few and sums long, and cover the terms once", () => {
    for (const [batch, m, k, n] of [[1, 64, 4096, 64], [1, 768, 8192, 768], [1, 33, 515, 70], [4, 100, 3000, 100], [1, 16, 100_003, 16], [1, 512, 4096, 512]] as const) {
      const { tile, parts, terms } = sharesFor({ batch, m, k, n }, adapter)
      expect(parts).toBeGreaterThan(1)
      expect([terms % tile.depth, parts * terms >= k, (parts - 1) * terms < k]).toEqual([0, true, true])
    }
    for (const [batch, m, k, n] of [[1, 64, 256, 64], [1, 4096, 4096, 4096], [64, 128, 1024, 128], [1, 1024, 1024, 1024]] as const) expect(sharesFor({ batch, m, k, n }, adapter).parts).toBe(1)
  })
  const lay = (x: Float32Array, [batch, rows, columns]: readonly [number, number, number], turned: boolean): Tensor =>
    turned ? tensor(x, { shape: [batch, columns, rows] }).transpose(1, 2) : tensor(x, { shape: [batch, rows, columns] })
  test.each([[1, 20, 1030, 30], [2, 17, 515, 21], [1, 66, 520, 10]] as const)("%i × [%i, %i] × [.., %i]", async (batch, m, k, n) => {
    expect(sharesFor({ batch, m, k, n }, adapter).parts).toBeGreaterThan(1)
    const x = await normal(1, batch * m * k), y = await normal(2, batch * k * n), bias = await normal(3, n)
    for (const [a, b] of [[false, false], [true, false], [false, true]] as const) await check(() => lay(x, [batch, m, k], a).matmul(lay(y, [batch, k, n], b)), 1e-5)
    await check(() => lay(x, [batch, m, k], false).mul(2).matmul(lay(y, [batch, k, n], true).cast("f16")).add(tensor(bias)).relu(), 1e-5)
    for (const dtype of ["f16", "i8"] as DType[]) await check(() => lay(x, [batch, m, k], false).mul(0.05).matmul(lay(y, [batch, k, n], false)).cast(dtype).cast("f32"), 1e-3, dtype === "i8" ? 1 : 0)
    // lavapipe takes seconds to compile a tiled product.
  }, 120_000)
})

test("what one product of a program needs besides its result, the next one has, too", async () => {
  const m = 64, k = 4096, { parts } = sharesFor({ batch: 1, m, k, n: m }, adapter), data = await normal(1, m * k)
  expect(parts).toBeGreaterThan(3)
  /** Bytes that an adapter is asked for by so many products, one after the other. */
  const bytesOf = async (count: number): Promise<number> => {
    const device = await webgpuDevice(), create = device.gpu.createBuffer.bind(device.gpu)
    let bytes = 0
    device.gpu.createBuffer = (d) => ((bytes += d.size), create(d))
    try {
      await withDevice(device, async () => {
        const x = tensor(data, { shape: [m, k] })
        let y = x.matmul(x.T)
        for (let i = 1; i < count; i++) y = x.mul(y.sum()).tanh().matmul(x.T)
        await y.data()
      })
    } finally {
      await device.close()
    }
    return bytes
  }
  expect(await bytesOf(8) - await bytesOf(2)).toBeLessThan(2 * parts * m * m * 4)
})
