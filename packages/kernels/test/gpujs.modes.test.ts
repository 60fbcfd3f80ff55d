import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest"
import { compile, currentDevice, expr, memory, realize, referenceDevice, tensor, updateSlice, useDevice, withDevice, type Device, type DType, type Expr, type Kernel, type Tensor } from "@thimble/core"
import { gpujsDevice, type GpujsSetup } from "../src/gpujs/device.ts"
import { devices, type GpujsMode } from "../src/index.ts"
import type { Handle } from "../src/gpujs/library.ts"
import { isResident, Residents } from "../src/gpujs/resident.ts"
import { withNavigatorGpu } from "./navigator-gpu.ts"
import { numbers } from "./numbers.ts"

const found = typeof document === "object" ? undefined : (await devices()).find((d) => d.name === "webgpu")!
/** Unattended runs must have a driver. */
const dawn = found !== undefined && (found.available || process.env.CI !== undefined)
// In Node the modes of the CPU, and what Dawn gives; on a page those of the GPU.
const modes: readonly GpujsMode[] = typeof document === "object" ? ["webgl2", "webgpu"] : ["webasm", "cpu", ...(dawn ? (["webgpu"] as const) : [])]
const start = (setup: GpujsSetup): Promise<Device> => (setup.mode === "webgpu" ? withNavigatorGpu(() => gpujsDevice(setup)) : gpujsDevice(setup))
const outer = currentDevice()
afterAll(() => void useDevice(outer))

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
/** Numbers below `smallest` count as zero. */
async function compute(device: Device, letter: Binary, type: "i32" | "u32", dtype: DType, smallest: number): Promise<Float64Array> {
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
  return Float64Array.from(dtype === "f32" ? new Float32Array(buffer).map((v) => (Math.abs(v) < smallest ? 0 : v)) : dtype === "i32" ? new Int32Array(buffer) : dtype === "u32" ? new Uint32Array(buffer) : new Uint8Array(buffer, 0, n))
}

describe.each(modes)("in mode %s", (mode) => {
  let device: Device
  beforeAll(async () => void (device = await start({ mode })))
  afterAll(() => device.close())

  // A GPU has no numbers below the normal ones.
  const smallest = isResident(mode) ? 2 ** -126 : 0
  describe.each(["i32", "u32"] as const)("halves of %s give what whole ones give", (type) => {
    for (const [name, [letter, dtype = type]] of Object.entries(letters))
      test(name, async () => expect(await compute(device, letter, type, dtype, smallest)).toEqual(await compute(referenceDevice(), letter, type, dtype, smallest)))
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
  test("more kernels than gpu.js keeps, and what they gave", async () => {
    const small = useDevice(await start({ mode, kept: 4 }))
    const x = tensor([1, 2, 3]), before = memory().bytes, all: Tensor[] = []
    for (let i = 0; i < 10; i++) all.push(x.add(i + 0.5))
    for (const y of all) await realize(y)
    for (const round of [0, 1]) for (const [i, y] of all.entries()) expect(await y.mul(i % 2 ? 2 : 3).tolist(), `${round}`).toEqual([1.5 + i, 2.5 + i, 3.5 + i].map((v) => v * (i % 2 ? 2 : 3)))
    for (const y of all) y.dispose()
    expect(memory().bytes - before).toBeLessThanOrEqual(240)
    await small.close()
  })
  test("large tensors and small ones in turn", async () => {
    useDevice(device)
    for (const n of [10, 70_000, 11, 300_000, 12]) {
      const x = Float32Array.from({ length: n }, (_, i) => i + 0.5), y = tensor(x).add(1)
      await realize(y)
      expect(await y.mul(2).sub(y).data()).toEqual(x.map((v) => v + 1))
    }
  })
  test("a kernel reads more tensors than a GPU binds", async () => {
    const dtypes = ["f32", "i32", "u8", "f16", "bool"] as const
    const make = (): Tensor => Array.from({ length: 23 }, (_, k) => tensor(Float32Array.from({ length: 5 }, (_, i) => ((k + 2) * (i + 1)) % 7), { dtype: dtypes[k % dtypes.length]! }).cast("f32")).reduce((a, b) => a.mul(0.5).add(b))
    const got = await withDevice(device, () => make().tolist())
    expect(got).toEqual(await withDevice(referenceDevice(), () => make().tolist()))
  })
  test("bytes written into what was computed, and elements put into it, leave the rest", async () => {
    useDevice(device)
    const y = tensor([1, 2, 3, 4]).mul(2)
    await realize(y)
    device.write(y.storage!.buffer, new Uint8Array(new Float32Array([50]).buffer), 8)
    expect(await y.tolist()).toEqual([2, 4, 50, 8])
    const put = compile((cache: Tensor, row: Tensor, at: Tensor) => updateSlice(cache, row, { start: at }), { donate: [0] })
    let cache = tensor([0, 0, 0, 0]).add(1)
    await realize(cache)
    for (let i = 0; i < 3; i++) cache = await put(cache, y.narrow(0, i, 1), BigInt(i))
    expect(await cache.mul(2).tolist()).toEqual([4, 8, 100, 2])
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
    // A part that is written does not make the rest good; all of it does.
    device.write(a, new Uint8Array(4))
    await expect(device.read(a)).rejects.toThrow(/gpu\.js failed/)
    device.write(a, new Uint8Array(8))
    expect(await device.read(a)).toEqual(new Uint8Array(8))
  })
})

describe.each(modes.filter(isResident))("on a GPU, in mode %s", (mode) => {
  afterEach(() => void vi.restoreAllMocks())
  test("what one kernel gives the next reads where it is; it comes to the host to be read", async () => {
    const device = useDevice(await start({ mode }))
    const up = vi.spyOn(Residents.prototype, "upload"), down = vi.spyOn(Residents.prototype, "download"), hold = vi.spyOn(Residents.prototype, "hold"), drop = vi.spyOn(Residents.prototype, "drop")
    const w = tensor(new Float32Array(64).fill(0.25), { shape: [8, 8] })
    let x = tensor(new Float32Array(8).fill(1), { shape: [1, 8] })
    for (let i = 0; i < 5; i++) {
      const next = x.matmul(w)
      await realize(next)
      x.dispose()
      x = next
    }
    expect(await x.tolist()).toEqual([Array.from({ length: 8 }, () => 32)])
    expect([up.mock.calls.length, down.mock.calls.length]).toEqual([2, 1])
    x.dispose()
    w.dispose()
    await device.close()
    const handles = hold.mock.results.map((r) => r.value as Handle)
    expect(handles.length).toBe(7)
    expect(drop.mock.calls.map(([h]) => h)).toEqual(expect.arrayContaining(handles))
  })
  test.runIf(mode === "webgl2")("a context that is lost is an error of the device, which names what ran", async () => {
    const hold = vi.spyOn(Residents.prototype, "hold")
    const device = useDevice(await start({ mode }))
    const x = tensor([1, 2, 3]), y = x.mul(2)
    await realize(y)
    await y.add(1).tolist()
    const gl = (hold.mock.results[0]!.value as Handle).context as WebGL2RenderingContext
    gl.getExtension("WEBGL_lose_context")!.loseContext()
    await expect(y.mul(3).tolist()).rejects.toMatchObject({ code: "device", message: expect.stringMatching(/lost/) as unknown })
    await expect(x.mul(5).tolist()).rejects.toMatchObject({ code: "device" })
    await device.close()
  })
})
