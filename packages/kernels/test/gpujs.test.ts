import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { compile, currentDevice, expr, memory, referenceDevice, roundHalfEven, tensor, useDevice, withDevice, type Device, type DType, type Expr, type Kernel, type Tensor } from "@thimble/core"
import { specials } from "../src/gpujs/functions.ts"
import { startLibrary } from "../src/gpujs/library.ts"
import { open } from "../src/index.ts"

const outer = currentDevice()
afterAll(() => void useDevice(outer))

/** Numbers 0 … 1 that are always the same. */
function numbers(seed: number): () => number {
  let a = seed
  return () => ((a = (Math.imul(a, 1664525) + 1013904223) >>> 0) / 2 ** 32)
}
const random = numbers(1)
const edges = [0, 1, 2, 3, 5, 16, 31, 32, 255, 256, 65535, 65536, 65537, 0x7fffffff, 0x80000000, 0x80000001, 0xffff0000, 0xfffffffe, 0xffffffff]
const words = [...edges, ...Array.from({ length: 40 }, () => Math.floor(random() * 2 ** (1 + 31 * random())))]
const pairs = words.flatMap((a) => words.map((b) => [a, b] as const))
const left = Uint32Array.from(pairs, ([a]) => a), right = Uint32Array.from(pairs, ([, b]) => b)

type Binary = (a: Expr, b: Expr) => Expr
const { add, and, bitcast, cast, div, eq, le, lt, max, min, mul, not, or, rem, select, shl, shr, store, sub, xor } = expr
/** What is computed with 32-bit integers, by what it gives. */
const letters: Readonly<Record<string, readonly [Binary, DType?]>> = {
  add: [add], sub: [sub], mul: [mul], div: [div], rem: [rem], min: [min], max: [max], and: [and], or: [or], xor: [xor], shl: [shl], shr: [shr],
  "shl by 5": [(a) => shl(a, expr.constant(a.type, 5))], "shl by 21": [(a) => shl(a, expr.constant(a.type, 21))],
  "shr by 7": [(a) => shr(a, expr.constant(a.type, 7))], "shr by 16": [(a) => shr(a, expr.constant(a.type, 16))],
  not: [(a) => not(a)], select: [(a, b) => select(lt(a, b), b, a)],
  lt: [lt, "bool"], le: [le, "bool"], eq: [eq, "bool"], "as a truth": [(a) => cast(a, "bool"), "bool"],
  "as a float": [(a) => cast(a, "f32"), "f32"], "the float of the same bits": [(a) => bitcast(a, "f32"), "f32"],
  "its low byte": [(a) => store(a, a.type === "u32" ? "u8" : "i8")], "its low half": [(a) => store(a, a.type === "u32" ? "u16" : "i16")],
}
async function compute(device: Device, letter: Binary, type: "i32" | "u32", dtype: DType): Promise<Float64Array> {
  const n = left.length
  const kernel = expr.freshExprs((): Kernel => {
    const at = expr.index(0, n)
    return { kind: "map", shape: [n], dtype, parameters: [dtype, type, type], sizes: [n, n, n], scalars: [], body: letter(expr.load(1, type, at), expr.load(2, type, at)) }
  })
  const buffers = [4 * n, 4 * n, 4 * n].map((bytes) => device.alloc(bytes))
  device.write(buffers[1]!, new Uint8Array(left.buffer))
  device.write(buffers[2]!, new Uint8Array(right.buffer))
  const [executable] = await device.prepare([kernel])
  device.run([{ executable: executable!, buffers, scalars: [] }])
  const { buffer } = await device.read(buffers[0]!)
  for (const b of buffers) device.free(b)
  return Float64Array.from(dtype === "f32" ? new Float32Array(buffer) : dtype === "i32" ? new Int32Array(buffer) : dtype === "u32" ? new Uint32Array(buffer) : new Uint8Array(buffer, 0, n))
}

describe.each(["webasm", "cpu"] as const)("in mode %s", (mode) => {
  let device: Device
  beforeAll(async () => void (device = await open("gpujs", { mode })))
  afterAll(() => device.close())

  describe.each(["i32", "u32"] as const)("halves of %s give what whole ones give", (type) => {
    for (const [name, [letter, dtype = type]] of Object.entries(letters))
      test(name, async () => expect(await compute(device, letter, type, dtype)).toEqual(await compute(referenceDevice(), letter, type, dtype)))
  })

  test("bytes are counted, and given back", async () => withDevice(device, async () => {
    const before = device.used!()
    const x = tensor([1, 2, 3, 4]), y = x.mul(2)
    expect(await y.tolist()).toEqual([2, 4, 6, 8])
    expect(device.used!() - before).toBe(32)
    x.dispose()
    y.dispose()
    expect(device.used!()).toBe(before)
  }))
  test("programs keep their order, and what they read, without anybody waiting", async () => {
    useDevice(device)
    const step = compile((x: Tensor, k: number) => x.mul(k).add(1))
    let x = tensor([1, 2])
    for (let i = 2; i < 30; i++) {
      const next = await step(x, i % 3)
      x.dispose()
      x = next
    }
    let want = [1, 2]
    for (let i = 2; i < 30; i++) want = want.map((v) => v * (i % 3) + 1)
    expect(await x.tolist()).toEqual(want)
    expect(step.programs).toBe(1)
  })
  test("more kernels than gpu.js keeps", async () => {
    useDevice(device)
    const x = tensor([1, 2, 3]), before = memory().bytes
    for (const round of [0, 1]) for (let i = 0; i < 300; i += 1 + 50 * round) {
      const y = x.add(i)
      expect(await y.tolist()).toEqual([1 + i, 2 + i, 3 + i])
      y.dispose()
    }
    expect(memory().bytes).toBe(before)
  })
  test("what a failed kernel should have computed throws when it is read; all else goes on", async () => {
    useDevice(device)
    const kernel = expr.freshExprs((): Kernel => ({ kind: "map", shape: [2], dtype: "f32", parameters: ["f32"], sizes: [2], scalars: [], body: expr.constant("f32", 1) }))
    const [good] = await device.prepare([kernel]), bad = { ...good!, key: "bad", source: { source: "function () { return nothing; }", arguments: [], parameters: [], result: "number" } }
    const [a, b, c] = [8, 8, 8].map((bytes) => device.alloc(bytes)) as [never, never, never]
    device.run([{ executable: bad, buffers: [a], scalars: [] }, { executable: good!, buffers: [b], scalars: [] }, { executable: good!, buffers: [c, a], scalars: [] }])
    await expect(device.read(a)).rejects.toThrow(/^run: gpu\.js failed \(.+\); bad$/)
    await expect(device.read(c)).rejects.toThrow(/gpu\.js failed/)
    expect(new Float32Array((await device.read(b)).buffer)).toEqual(new Float32Array([1, 1]))
  })
})

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
    if (typeof document === "undefined") await expect(open("gpujs", { mode: "webgl2" })).rejects.toThrow('open: there is no WebGL2 with float textures here; use { mode: "webasm" }')
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
      output: [n], fixIntegerDivisionAccuracy: false, precision: "single", dynamicArguments: false, asyncMode: false, argumentTypes: { p: "Array", q: "Array", special: "Array" },
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
