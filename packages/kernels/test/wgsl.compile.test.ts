// Kernels for features that no adapter without a GPU has: Dawn's null backend has them all, and checks their text.
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { layerNorm, quantizedWeight, realize, referenceDevice, rmsNorm, tensor, uploadParts, useDevice, type Device, type DType, type Kernel, type Tensor, type Weight } from "@thimble/core"
import { int } from "../../compress/src/index.ts"
import { emitKernel } from "../src/wgsl/kernel.ts"
import { mergedPass, shareOut } from "../src/wgsl/merged.ts"
import { templateFor } from "../src/wgsl/template/index.ts"
import type { Features } from "../src/wgsl/template/holes.ts"

const all: Features = {
  software: false, half: true, subgroup: { least: 32, most: 32 }, packedDot: true, sharedBytes: 49152, threads: 1024, bindings: 16, bindingBytes: 2 ** 27,
  matrices: [{ m: 16, n: 16, k: 16, component: "f16", result: "f32" }],
  numbers: { contracts: true, fuses: true, exactDivision: false, exactRoot: false, exactHalves: true },
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
    accepts: (name, dims) => templateFor(name, dims, all) !== undefined, pairs: (name, dims) => templateFor(name, dims, all)?.pairs === true,
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

/** A matrix of zeros in groups of 32. */
async function packed([rows, columns]: [number, number], activations: "int8" | "f32" = "int8"): Promise<Weight> {
  const format = int(4, { group: 32 }), weight = quantizedWeight(format, [rows, columns], uploadParts(format.encode(new Float32Array(rows * columns), [rows, columns])), { activations })
  await realize(...Object.values(weight.parts()))
  return weight
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
    "attention of many heads": async () => { const [q, k] = [await stored([1, 32, 1, 128], "f32"), await stored([1, 32, 600, 128], "f16")]; return () => q.attention(k.cast("f32"), k.cast("f32"), { causal: true, qOffset: 599 }) },
    "two products of normalized rows": async () => { const [x, w] = [await stored([1, 2048], "f32"), await stored([2048], "f32")], [a, b] = [await packed([1100, 2048]), await packed([1100, 2048])]; return () => { const y = rmsNorm(x, w); return a.apply(y).silu().mul(b.apply(y)) } },
    "normalized rows, more than workgroup memory holds": async () => { const x = await stored([8, 8192], "f32"), a = await packed([1100, 8192]); return () => a.apply(layerNorm(x)) },
    "codes times many rows": async () => { const x = await stored([16, 256], "f32"), w = await packed([530, 256]); return () => w.apply(x).relu() },
    "codes, not on integers, times many rows": async () => { const x = await stored([16, 256], "f32"), w = await packed([530, 256], "f32"); return () => w.apply(x.mul(2)).relu() },
    "attention of many queries, f16 caches": async () => { const [q, k] = [await stored([1, 8, 100, 128], "f32"), await stored([1, 4, 600, 128], "f16")]; return () => q.attention(k.cast("f32"), k.cast("f32"), { causal: true, qOffset: 500 }) },
    "attention of many queries, f16": async () => { const q = await stored([4, 32, 100, 128], "f16"); return () => q.attention(q, q) },
    "attention of many queries, f32, in a window": async () => { const [q, v] = [await stored([2, 8, 100, 72], "f32"), await stored([2, 8, 100, 40], "f32")]; return () => q.attention(q, v, { causal: true, window: 50 }) },
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
    if (["f16", "codes", "attention of many queries"].some((start) => name.startsWith(start))) expect(codes.some((c) => c.includes("subgroupMatrixMultiplyAccumulate"))).toBe(true)
  })
})

test("so are kernels that share a dispatch", async () => {
  const [x, w] = [await stored([1, 1024], "f32"), await stored([1024], "f32")], matrices = await Promise.all([1024, 1100, 1200].map((n) => packed([n, 1024])))
  kernels.length = 0
  await realize(...matrices.map((m) => m.apply(rmsNorm(x, w))))
  const passes = kernels.flatMap((k) => emitKernel(k, all).passes)
  expect(passes.length).toBe(3)
  expect(shareOut(passes, all)).toEqual([[0, 1, 2]])
  expect(await errors(mergedPass(passes).code)).toEqual([])
})
