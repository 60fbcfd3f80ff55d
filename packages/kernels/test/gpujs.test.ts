import { afterAll, describe, expect, test, vi } from "vitest"
import { currentDevice, roundHalfEven, tensor, useDevice } from "@thimble/core"
import { specials } from "../src/gpujs/functions.ts"
import { startLibrary } from "../src/gpujs/library.ts"
import { open } from "../src/index.ts"
import { numbers } from "./numbers.ts"

const outer = currentDevice()
afterAll(() => void useDevice(outer))

const random = numbers(1)

describe("refuses", () => {
  test("f64, which gpu.js does not have", async () => {
    const device = await open("gpujs")
    const x = tensor([1, 2], { dtype: "f64" })
    await expect(x.add(1).data()).rejects.toThrowError(expect.objectContaining({ code: "dtype", message: 'gpujs: gpu.js computes in f32, so its device has no f64; cast to "f32", or use another device' }))
    await device.close()
    expect(() => device.alloc(4)).toThrow("alloc: the gpujs device was closed, and its tensors with it; open it again")
  })
  test("modes that are none, or not here", async () => {
    await expect(open("gpujs", { mode: "gpu" as never })).rejects.toThrow("open: mode must be one of webgpu, webgl2, webasm, cpu, got gpu")
    await expect(open("gpujs", { mode: "webgl2" })).rejects.toThrow('open: there is no WebGL2 with float textures here; use { mode: "webasm" }')
    await expect(open("gpujs", { mode: "webgpu" })).rejects.toThrow(expect.objectContaining({ code: "device", message: 'open: gpu.js finds no WebGPU adapter through navigator.gpu; open("webgpu") needs none; or use { mode: "webasm" }' }))
  })
  test("without the package, with the remedy", async () => {
    vi.doMock("gpu.js", () => { throw new Error("Cannot find package 'gpu.js'") })
    await expect(open("gpujs")).rejects.toThrow(/^open: the gpujs device needs the package gpu\.js, which cannot be loaded \(.+\); npm install gpu\.js@2\.24\.1$/s)
    vi.doUnmock("gpu.js")
  })
})

// On GPUs they stand in for GLSL's and WGSL's; f32 is the same everywhere, so that they can be measured here.
describe("functions of GPUs, beside f64", () => {
  const n = 20_000
  const special = [NaN, Infinity, -Infinity, -0, 0, 1, -1, 0.5, -2.5, 3.5, 3.4e38, -1e-8, 88.5, -86, 2, 3, -3]
  const digits = Array.from({ length: 12 }, (_, k) => `special[digitsAt(x) + ${k}]`).join(", ")
  /** Text → what it should be, units in the last place it may be off, and where x and y are drawn. */
  const rows: Readonly<Record<string, readonly [fn: (x: number, y: number) => number, ulps: number, x: () => number, y?: () => number]>> = {
    "expOf(x)": [Math.exp, 2, () => -87 + 175 * random()],
    "logOf(x, infinity, nan)": [Math.log, 2, () => 2 ** (250 * random() - 125)],
    "tanhOf(x)": [Math.tanh, 2, () => 12 * random() - 6],
    "atanOf(x)": [Math.atan, 3, () => 16 * random() - 8],
    [`waveOf(x, 0, nan, ${digits})`]: [Math.sin, 3, () => (random() < 0.5 ? 20 * random() - 10 : 2 ** (130 * random() - 3))],
    [`waveOf(x, 1, nan, ${digits})`]: [Math.cos, 3, () => (random() < 0.5 ? 20 * random() - 10 : 2 ** (130 * random() - 3))],
    "powOf(x, y, infinity, nan)": [Math.pow, 4, () => (random() < 0.5 ? 4 * random() : 2 ** (100 * random() - 50)), () => (random() < 0.5 ? 20 * random() - 10 : 3 * random() - 1.5)],
    "remainder(x, y, nan)": [(x, y) => x % y, 0, () => 2e6 * (random() - 0.5), () => 30 * random() - 10],
    "nearestEven(x)": [roundHalfEven, 0, () => Math.round(200 * random() - 100) / 2],
  }
  const unit = new Float32Array(1), bits = new Int32Array(unit.buffer)
  const ulpOf = (x: number): number => {
    unit[0] = Math.max(Math.abs(x), 2 ** -126)
    const from = unit[0]!
    bits[0]!++
    return unit[0]! - from
  }
  test.each(Object.keys(rows))("%s", async (text) => {
    const [fn, ulps, drawX, drawY = () => 0] = rows[text]!
    const x = Float32Array.from({ length: n }, (_, i) => (i < special.length ** 2 ? special[i % special.length]! : drawX()))
    const y = Float32Array.from({ length: n }, (_, i) => (i < special.length ** 2 ? special[Math.floor(i / special.length)]! : drawY()))
    const { gpu } = await startLibrary("webasm")
    const kernel = gpu.createKernel(`function (p, q, special) { const infinity = special[0]; const nan = special[1]; const x = p[this.thread.x]; const y = q[this.thread.x]; return ${text}; }`, {
      output: [n], fixIntegerDivisionAccuracy: false, precision: "single", tactic: "precision", dynamicArguments: false, asyncMode: false, argumentTypes: { p: "Array", q: "Array", special: "Array" },
    })
    const got = (await kernel(x, y, Float32Array.from(specials))) as Float32Array
    await gpu.destroy()
    const wrong = Array.from(got).flatMap((g, i) => {
      const exact = fn(x[i]!, y[i]!), want = Math.fround(exact)
      // Subnormal results count as near zero: GPUs may have none.
      return Object.is(g, want) || (Number.isFinite(want) && Number.isFinite(g) && Math.abs(g - exact) <= ulps * ulpOf(want)) ? [] : [`${x[i]}, ${y[i]}: ${g} instead of ${want}`]
    })
    expect(wrong.slice(0, 5)).toEqual([])
  })
})
