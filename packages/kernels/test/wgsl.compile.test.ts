// Kernels for features that no adapter without a GPU has: Dawn's null backend has them all, and checks their text.
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { realize, referenceDevice, tensor, useDevice, type Device, type DType, type Kernel, type Tensor } from "@thimble/core"
import { emitKernel } from "../src/wgsl/kernel.ts"
import { templateFor } from "../src/wgsl/template/index.ts"
import type { Features } from "../src/wgsl/template/holes.ts"

const all: Features = {
  half: true, subgroup: { least: 32, most: 32 }, packedDot: true, sharedBytes: 49152, threads: 1024, bindings: 16, bindingBytes: 2 ** 27,
  matrices: [{ m: 16, n: 16, k: 16, component: "f16", result: "f32" }],
  numbers: { contracts: true, exactDivision: false, exactRoot: false, flushes: false, exactHalves: true },
}
/** The same, of memory that is bound a little at a time. */
const windowed: Features = { ...all, bindingBytes: 2 ** 14, bindings: 1000 }
let gpu: GPUDevice, instance: GPU
beforeAll(async () => {
  const dawn = (await import("webgpu" as string)) as { create(options: string[]): GPU }
  instance = dawn.create(["backend=null", "enable-dawn-features=allow_unsafe_apis"])
  const adapter = (await instance.requestAdapter())!
  gpu = await adapter.requestDevice({ requiredFeatures: ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix" as GPUFeatureName] })
})
afterAll(() => void useDevice(referenceDevice()))
beforeAll(() => void useDevice(pretended()))

/** A device of these features that runs nothing but remembers the kernels it is asked for. */
const kernels: Kernel[] = []
const pretended = (): Device => {
  const reference = referenceDevice()
  return {
    name: "pretended", limits: reference.limits,
    accepts: (name, dims) => templateFor(name, dims, all) !== undefined,
    alloc: (bytes) => reference.alloc(bytes), free: (b) => reference.free(b), write: (b, data, at) => reference.write(b, data, at), read: (b, bytes, into) => reference.read(b, bytes, into),
    prepare: (more) => { kernels.push(...more); return Promise.resolve(more.map((kernel) => ({ kernel }))) },
    run: () => {}, used: () => 0, close: () => Promise.resolve(),
  }
}

async function errors(code: string): Promise<readonly string[]> {
  gpu.pushErrorScope("validation")
  const { messages } = await gpu.createShaderModule({ code }).getCompilationInfo()
  await gpu.popErrorScope()
  return messages.map((m) => `line ${m.lineNum}: ${m.message} in ${code.split("\n")[m.lineNum - 1]}`)
}

async function stored(shape: number[], dtype: DType): Promise<Tensor> {
  const t = tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), { shape }).cast(dtype)
  await realize(t)
  return t
}

describe("kernels for all optional features are valid WGSL", () => {
  const graphs: Record<string, () => Promise<() => Tensor>> = {
    "f16 product": async () => { const [a, b] = [await stored([256, 64], "f16"), await stored([64, 128], "f16")]; return () => a.matmul(b).cast("f32").relu() },
    "f16 product, transposed, odd sizes": async () => { const [a, b] = [await stored([200, 72], "f16"), await stored([136, 72], "f16")]; return () => a.matmul(b.T) },
    "f16 product, left operand transposed": async () => { const [a, b] = [await stored([72, 96], "f16"), await stored([72, 160], "f16")]; return () => a.T.matmul(b) },
    "f16 product of a long sum": async () => { const [a, b] = [await stored([64, 4096], "f16"), await stored([4096, 64], "f16")]; return () => a.matmul(b) },
    "product of a long sum": async () => { const [a, b] = [await stored([2, 60, 1030], "f32"), await stored([2, 1030, 70], "f32")]; return () => a.matmul(b).cast("f16") },
    "sums and extremes": async () => { const a = await stored([3000, 100], "f16"); return () => a.sum({ axis: 1 }).add(a.cast("f32").amax({ axis: 0 }).sum()) },
    truths: async () => { const a = await stored([3, 10_000], "f32"); return () => a.gt(0).any({ axis: 1 }).cast("i8") },
    "few rows": async () => { const [a, b] = [await stored([3, 640], "f32"), await stored([300, 640], "f16")]; return () => a.matmul(b.T) },
    softmax: async () => { const a = await stored([9, 1000], "f32"); return () => a.softmax() },
    attention: async () => { const [q, k] = [await stored([1, 8, 1, 128], "f32"), await stored([1, 8, 600, 128], "f16")]; return () => q.attention(k.cast("f32"), k.cast("f32")) },
  }
  test.each(Object.keys(graphs))("%s", async (name) => {
    const make = await graphs[name]!()
    kernels.length = 0
    await realize(make())
    expect(kernels.some((k) => k.kind !== "map")).toBe(true)
    const codesFor = (features: Features): string[] => kernels.flatMap((k) => emitKernel(k, features).passes.map((p) => p.code))
    const codes = codesFor(all), inWindows = codesFor(windowed)
    for (const code of [...codes, ...inWindows]) expect(await errors(code)).toEqual([])
    expect(inWindows.some((c) => /var<storage, read(_write)?> p\d_1:/.test(c))).toBe(true)
    if (name.startsWith("f16")) expect(codes.some((c) => c.includes("subgroupMatrixMultiplyAccumulate"))).toBe(true)
  })
})
