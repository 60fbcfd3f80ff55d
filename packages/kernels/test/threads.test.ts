import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { afterEach, describe, expect, test } from "vitest"
import { compile, currentDevice, expr, realize, tensor, useDevice, type Device, type Kernel, type Tensor } from "@thimble/core"
import { open } from "../src/index.ts"
import { wasmDevice } from "../src/wasm/device.ts"

const outer = currentDevice()
let device: Device
afterEach(async () => {
  useDevice(outer)
  await device.close()
})
const ramp = (size: number): Float32Array => Float32Array.from({ length: size }, (_, i) => i)

describe("a device has", () => {
  test("the threads it is asked for, more than there are processors too; as many as those unless asked", async () => {
    for (const threads of [1, 2, 7, undefined]) {
      device = await open("wasm", { ...(threads && { threads }) })
      expect(device.threads).toBe(threads ?? navigator.hardwareConcurrency)
      const x = tensor(ramp(90_000), { shape: [300, 300] })
      expect(await x.mul(2).sum().item()).toBeCloseTo(90_000 * 89_999, -4)
      if (threads !== undefined) await device.close()
    }
  })
  test("one thread where there is no SharedArrayBuffer, and computes", async () => {
    device = await open("wasm", { threads: 1 })
    const source = `import { open } from "@thimble/kernels"; import { tensor } from "@thimble/core"
      const device = await open("wasm", { threads: 4 })
      const x = tensor(Float32Array.from({ length: 40_000 }, (_, i) => Math.sin(i)), { shape: [200, 200] })
      console.log(typeof SharedArrayBuffer, device.threads, JSON.stringify([...(await x.matmul(x).gelu().softmax().data()).slice(0, 300)]))`
    const run = promisify(execFile)
    const { stdout } = await run(process.execPath, ["--enable-sharedarraybuffer-per-context", "--input-type=module", "-e", source], { cwd: new URL("../../conformance", import.meta.url), timeout: 20_000 })
    const x = tensor(Float32Array.from({ length: 40_000 }, (_, i) => Math.sin(i)), { shape: [200, 200] })
    // What threads there are is not seen in the results.
    expect(stdout.trim()).toBe(`undefined 1 ${JSON.stringify([...(await x.matmul(x).gelu().softmax().data()).slice(0, 300)])}`)
  })
})

test.each([1, 2, 3])("a kernel that traps, on whichever of %i threads, is an error, also of what is asked next, and nothing hangs", async (threads) => {
  device = await open("wasm", { threads })
  const size = 1 << 20
  const [kernel] = await device.prepare([expr.freshExprs((): Kernel => ({ kind: "map", shape: [size], dtype: "f32", parameters: ["f32", "f32"], sizes: [size, size], scalars: [], body: expr.sqrt(expr.load(1, "f32", expr.index(0, size))) }))])
  const [inside, outside] = [device.alloc(4 * size), { bytes: 4 * size, at: 2 ** 32 - 64 }]
  const run = (from: typeof inside): void => device.run([{ executable: kernel!, buffers: [inside, from], scalars: [] }])
  for (let i = 0; i < 20; i++) run(inside)
  expect(() => run(outside)).toThrow(expect.objectContaining({ code: "internal" }))
  if (threads > 1) expect(() => run(inside)).toThrow(/trapped/)
  const other = await open("wasm", { threads })
  expect(await tensor(ramp(3)).add(1).data()).toEqual(ramp(4).slice(1))
  await other.close()
})

test("steps of all sizes, in any order and with pauses between, give the same bits on any number of threads", async () => {
  const results: unknown[] = []
  for (const threads of [1, 2, 5]) {
    device = await open("wasm", { threads })
    const x = tensor(ramp(40_000), { shape: [200, 200] }).mul(1e-4)
    const step = compile((y: Tensor) => y.matmul(x).sin().add(y.sum({ axis: 0 })).narrow(0, 0, 200).softmax().add(x.mul(y)).sub(y.mean()).sin())
    let y = x
    for (let i = 0; i < 300; i++) {
      y = await step(y)
      // Long enough for the other threads to fall asleep, at times.
      if (i % 50 === 0) await new Promise((done) => { setTimeout(done, 2) })
    }
    results.push(await y.data())
    if (threads !== 5) await device.close()
  }
  expect(results[1]).toEqual(results[0])
  expect(results[2]).toEqual(results[0])
  expect((results[0] as Float32Array).every(Number.isFinite)).toBe(true)
})

// Growing takes the memory away from under views of it where it is not shared, which is on one thread.
describe.each([1, 2])("on %i threads", (threads) => {
  const small = async (): Promise<Device> => (device = useDevice(await wasmDevice({ threads, features: { relaxed: false, wide: false }, maximumPages: 64 })))

  test("memory that grows between kernels keeps tensors, and takes the constants of new kernels", async () => {
    await small()
    const x = tensor(ramp(37)), held = [x]
    for (const size of [2e5, 3e5, 4e5]) {
      held.push(tensor(ramp(size)))
      const got = await x.mul(size + 0.5).add(size - 0.25).data()
      got.forEach((v, i) => expect(v).toBe(Math.fround(Math.fround(i * (size + 0.5)) + size - 0.25)))
    }
    expect(held.every((t) => t.storage !== undefined)).toBe(true)
    for (const t of held) expect(await t.data()).toEqual(ramp(t.size))
  })
  test("a program that finds no room for its own bookkeeping leaves tensors alone", async () => {
    await small()
    const x = tensor(ramp(8))
    await x.add(1).data()
    // Fills the memory, then leaves holes that hold a result each, but nothing larger.
    const filled = []
    for (const bytes of [2 ** 16, 64]) {
      try {
        for (;;) filled.push(device.alloc(bytes))
      } catch { /* full */ }
    }
    const holes = filled.filter((b, i) => b.bytes === 64 && i % 2 === 0), rest = filled.filter((b) => !holes.includes(b))
    holes.forEach((b) => device.free(b))
    const many = Array.from({ length: 200 }, (_, i) => x.narrow(0, i % 8, 1).add(1).square())
    expect(holes.length).toBeGreaterThan(many.length)
    await expect(realize(...many)).rejects.toMatchObject({ code: "memory" })
    // Takes the place of what the failed program gave up.
    const y = tensor(ramp(1024))
    rest.forEach((b) => device.free(b))
    expect(await x.add(1).data()).toEqual(ramp(9).slice(1))
    expect(await y.data()).toEqual(ramp(1024))
  })
})
