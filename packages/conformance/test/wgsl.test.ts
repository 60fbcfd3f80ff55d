import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { castTo, currentDevice, matmul, softmax, tensor, ThimbleError, useDevice } from "@thimble/core"
import { devices } from "@thimble/kernels"
import { webgpuDevice, type WebgpuDevice } from "../../kernels/src/webgpu/device.ts"
import { argumentsFor } from "../src/abilities.ts"
import { evaluate, outputsOf, probe } from "../src/measure.ts"
import { seed } from "../src/runs.ts"
import { rows } from "../src/table/index.ts"
import { anything, differentiable } from "../src/table/spec.ts"

/** Dawn without a driver: most optional features are there, pipelines are made, and nothing is computed. For the features of cards see wgsl-cards. */
const nothing = { dawn: ["backend=null"] }
const kinds = {
  "every WGSL kernel of the table makes pipelines, with what the null backend has": {},
  "so is every one of memory that is bound in windows": { features: { bindingBytes: 256 } },
} as const
const webgpu = (await devices()).find((d) => d.name === "webgpu")!
const loads = webgpu.available || !webgpu.reason.includes("package 'webgpu'")
if (!loads) test.skip(`WGSL: ${webgpu.available ? "" : webgpu.reason}`, () => {})

for (const [kind, options] of Object.entries(kinds)) describe.runIf(loads || process.env.CI !== undefined)(kind, () => {
  const outer = currentDevice()
  let device: WebgpuDevice
  beforeAll(async () => void (device = await webgpuDevice({ ...nothing, ...options })))
  afterAll(async () => {
    useDevice(outer)
    await device.close()
  })
  const entry = { f64: false }, small = "features" in options
  /** Results are all zero, which some routines of the host refuse; what was compiled until then is valid. */
  const unlessRefused = async (work: Promise<unknown>): Promise<void> => {
    const e: unknown = await work.then(() => undefined, (e: unknown) => e)
    if (e !== undefined && !(e instanceof ThimbleError && e.code !== "internal")) throw e
  }

  test("the features are there", () => {
    const { half, subgroup } = device.features
    expect([half, subgroup !== undefined]).toEqual([true, true])
  })
  test("a kernel that is not valid is refused, with the line", async () => {
    const { gpu } = device
    gpu.pushErrorScope("validation")
    gpu.createShaderModule({ code: "fn f() -> f32 { return 1u; }" })
    expect((await gpu.popErrorScope())?.message).toContain("return")
  })
  for (const [name, row] of rows)
    test(name, async () => {
      const cases = [...(row.corners ?? []), ...fc.sample(row.args(anything), { numRuns: 3, seed })].map((args) => argumentsFor(entry, args))
      await unlessRefused(evaluate(device, () => Promise.all(cases.map((args) => outputsOf(row, args)))))
      if (typeof row.gradient === "string")
        for (const args of fc.sample(row.args(differentiable), { numRuns: 2, seed }).map((a) => argumentsFor(entry, a)))
          await unlessRefused(evaluate(device, async () => [(await probe(row, args, "f32"))?.gradients ?? []]))
    })
  test("templates of narrow operands and results", async () => {
    useDevice(device)
    for (const [m, k, n] of [[1, 64, 64], [1, 63, 65], [5, 33, 17], [64, 64, 64], [256, 256, 256]])
      for (const dtype of ["f16", "bf16", "f32"] as const) {
        const a = castTo(tensor(new Float32Array(m! * k!), { shape: [m!, k!] }), dtype), b = castTo(tensor(new Float32Array(k! * n!), { shape: [k!, n!] }), dtype)
        const whole = softmax(matmul(a, b)).data().then((values) => expect(values.length).toBe(m! * n!))
        // Large ones need more windows than are bound.
        await (small ? unlessRefused(whole) : whole)
      }
  })
})
