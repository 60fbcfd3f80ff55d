// What kernels look like depends on what an adapter has. Every one that the table produces, for cards that no machine without a GPU
// has, is checked as text by Dawn, and against the limits of the card.
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { castTo, matmul, realize, referenceDevice, softmax, tensor, ThimbleError, type Device, type Kernel } from "@thimble/core"
import { devices } from "@thimble/kernels"
import { webgpuDevice, type WebgpuDevice } from "../../kernels/src/webgpu/device.ts"
import type { EmittedPass } from "../../kernels/src/wgsl/emitted.ts"
import { emitKernel } from "../../kernels/src/wgsl/kernel.ts"
import { mergedPass, shareOut } from "../../kernels/src/wgsl/merged.ts"
import type { Features } from "../../kernels/src/wgsl/template/holes.ts"
import { templateFor } from "../../kernels/src/wgsl/template/index.ts"
import { argumentsFor } from "../src/abilities.ts"
import { evaluate, outputsOf, probe } from "../src/measure.ts"
import { seed } from "../src/runs.ts"
import { rows } from "../src/table/index.ts"
import { anything, differentiable } from "../src/table/spec.ts"

const numbers = { contracts: true, fuses: true, exactDivision: false, exactRoot: false, exactHalves: true }
const square = (size: number, ...types: readonly (readonly [component: string, result: string])[]): Features["matrices"] => types.map(([component, result]) => ({ m: size, n: size, k: size, component, result }))
const cards: Readonly<Record<string, Features>> = {
  "an H100 through Vulkan": {
    software: false, half: true, subgroup: { least: 32, most: 32 }, packedDot: true, matrices: square(16, ["f16", "f16"], ["f16", "f32"]),
    sharedBytes: 49152, threads: 1024, bindings: 16, bindingBytes: 2 ** 31 - 16, numbers,
  },
  "Apple's, through Metal": {
    software: false, half: true, subgroup: { least: 32, most: 32 }, packedDot: true, matrices: square(8, ["f32", "f32"], ["f16", "f16"], ["f16", "f32"]),
    sharedBytes: 32768, threads: 1024, bindings: 10, bindingBytes: 2 ** 30, numbers,
  },
  "lavapipe 26": {
    software: true, half: true, subgroup: { least: 8, most: 8 }, packedDot: true, matrices: square(8, ["f16", "f16"], ["f16", "f32"], ["u8", "u32"], ["i8", "i32"]),
    sharedBytes: 32768, threads: 1024, bindings: 16, bindingBytes: 2 ** 27, numbers: { contracts: false, fuses: false, exactDivision: true, exactRoot: true, exactHalves: true },
  },
  "one that has what WebGPU promises, and no more": {
    software: false, half: false, subgroup: undefined, packedDot: false, matrices: [],
    sharedBytes: 16384, threads: 256, bindings: 8, bindingBytes: 2 ** 27, numbers: { ...numbers, fuses: false, exactHalves: false },
  },
}

const webgpu = (await devices()).find((d) => d.name === "webgpu")!
const loads = webgpu.available || !webgpu.reason.includes("package 'webgpu'")
if (!loads) test.skip(`WGSL: ${webgpu.available ? "" : webgpu.reason}`, () => {})

/** A device of these features that computes nothing, and remembers the kernels it is asked for. */
function pretended(features: Features): { device: Device; kernels: Kernel[] } {
  const reference = referenceDevice(), kernels: Kernel[] = []
  const device: Device = {
    ...reference, name: "pretended", queued: true,
    accepts: (name, dims) => templateFor(name, dims, features) !== undefined, pairs: (name, dims) => templateFor(name, dims, features)?.pairs === true,
    prepare(more) {
      kernels.push(...more)
      return Promise.resolve(more.map((kernel) => ({ kernel })))
    },
    run() {},
  }
  return { device, kernels }
}

/** Bytes of a type of WGSL that workgroup memory is declared with. */
function bytesOfType(type: string): number {
  const array = /^array<(.+), ?(\d+)>$/.exec(type)
  if (array !== null) return bytesOfType(array[1]!) * Number(array[2])
  const vector = /^vec([24])<(?:f32|u32|i32)>$/.exec(type)
  if (vector !== null) return 4 * Number(vector[1])
  if (["f32", "u32", "i32"].includes(type)) return 4
  throw new Error(`workgroup memory of type ${type}`)
}
const numberIn = (code: string, pattern: RegExp): number[] => pattern.exec(code)!.slice(1).map(Number)
/** What a module has more of than the card. */
function excess(code: string, features: Features): string[] {
  const shared = Array.from(code.matchAll(/var<workgroup> \w+: ([^;]+);/g), (m) => bytesOfType(m[1]!)).reduce((a, b) => a + b, 0)
  const threads = numberIn(code, /@workgroup_size\((\d+), (\d+), (\d+)\)/).reduce((a, b) => a * b, 1), bindings = [...code.matchAll(/var<storage/g)].length
  const all = [["bytes of workgroup memory", shared, features.sharedBytes], ["threads", threads, features.threads], ["bindings", bindings, features.bindings]] as const
  return all.filter(([, has, most]) => has > most).map(([what, has, most]) => `${has} ${what}, and the card has ${most}`)
}

describe.runIf(loads || process.env.CI !== undefined)("every WGSL kernel of the table is valid", () => {
  let nothing: WebgpuDevice, plain: GPUDevice
  beforeAll(async () => {
    nothing = await webgpuDevice({ dawn: ["backend=null"] })
    // No feature beyond the specification's; a subgroup's functions, say, are errors there.
    plain = await (await (await adapterOfNull())!).requestDevice()
  })
  afterAll(() => nothing.close())
  /** The null backend's adapter, once more. */
  const adapterOfNull = async (): Promise<GPUAdapter | null> => (await import("../../kernels/src/webgpu/instance.ts")).findAdapter({ dawn: ["backend=null"] }).then((f) => f.adapter)
  /** Results are all zero, which some routines of the host refuse; what was asked for until then counts. */
  const unlessRefused = async (work: Promise<unknown>): Promise<void> => {
    const e: unknown = await work.then(() => undefined, (e: unknown) => e)
    if (e !== undefined && !(e instanceof ThimbleError && e.code !== "internal")) throw e
  }

  describe.each(Object.entries(cards))("on %s", (_card, features) => {
    const { device, kernels } = pretended(features)
    const checked = new Set<string>()
    let matrices = 0
    const check = async (code: string): Promise<void> => {
      if (checked.has(code)) return
      checked.add(code)
      if (code.includes("subgroupMatrixMultiplyAccumulate")) matrices++
      const gpu = features.half ? nothing.gpu : plain
      gpu.pushErrorScope("validation")
      const { messages } = await gpu.createShaderModule({ code }).getCompilationInfo()
      await gpu.popErrorScope()
      expect([...messages.map((m) => `line ${m.lineNum}: ${m.message} in ${code.split("\n")[m.lineNum - 1]}`), ...excess(code, features)]).toEqual([])
    }
    const checkKernels = async (): Promise<void> => {
      const passes: EmittedPass[] = kernels.splice(0).flatMap((k) => emitKernel(k, features).passes)
      for (const { code } of passes) await check(code)
      // As if none of them needed another, they share dispatches.
      for (const list of shareOut(passes, features)) if (list.length > 1) await check(mergedPass(list.map((i) => passes[i]!)).code)
    }

    test.each(rows.map(([name, row]) => [name, row] as const))("%s", async (_name, row) => {
      const entry = { f64: false }
      const cases = [...(row.corners ?? []), ...fc.sample(row.args(anything), { numRuns: 3, seed })].map((args) => argumentsFor(entry, args))
      await unlessRefused(evaluate(device, () => Promise.all(cases.map((args) => outputsOf(row, args)))))
      if (typeof row.gradient === "string")
        for (const args of fc.sample(row.args(differentiable), { numRuns: 2, seed }).map((a) => argumentsFor(entry, a)))
          await unlessRefused(evaluate(device, async () => [(await probe(row, args, "f32"))?.gradients ?? []]))
      await checkKernels()
    })
    test("products of narrow operands and results, small and large", async () => {
      for (const [m, k, n] of [[1, 64, 64], [1, 63, 65], [5, 33, 17], [64, 64, 64], [256, 256, 256], [128, 2048, 64]] as const)
        for (const dtype of ["f16", "bf16", "f32"] as const)
          await evaluate(device, async () => {
            const a = castTo(tensor(new Float32Array(m * k), { shape: [m, k] }), dtype), b = castTo(tensor(new Float32Array(k * n), { shape: [k, n] }), dtype)
            // Matrices of subgroups are for operands that lie in memory.
            await realize(a, b)
            return [[softmax(matmul(a, b))]]
          })
      await checkKernels()
      expect(checked.size).toBeGreaterThan(500)
      expect(matrices > 0).toBe(features.matrices.length > 0)
    })
  })
})
