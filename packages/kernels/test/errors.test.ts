import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { afterEach, describe, expect, test } from "vitest"
import {
  compile, currentDevice, expr, quantizedWeight, quantizeWeight, realize, tensor, useDevice, withDevice, zeros, type Device, type Format, type Op, type Tensor, apply,
} from "@thimble/core"
import { best, open } from "../src/index.ts"

const outer = currentDevice()
const opened: Device[] = []
const wasm = async (threads = 1): Promise<Device> => {
  const device = await open("wasm", { threads })
  opened.push(device)
  return device
}
afterEach(async () => {
  useDevice(outer)
  await Promise.all(opened.splice(0).map((d) => d.close()))
})

describe("open refuses", () => {
  const cases: readonly [string, () => Promise<unknown>][] = [
    ["open: no device 'cuda'; one of reference, wasm, webgpu, gpujs", () => open("cuda")],
    ["open: no device 'toString'; one of reference, wasm, webgpu, gpujs", () => open("toString")],
    ["open: no device 'undefined'; one of reference, wasm, webgpu, gpujs", () => open(undefined as never)],
    ["open: has no option 'thread'; options are threads, revectorize, mode, adapter, powerPreference", () => open("wasm", { thread: 2 } as never)],
    ["open: adapter must be a part of the name of an adapter, got 5", () => open("webgpu", { adapter: 5 as never })],
    ["open: adapter must be a part of the name of an adapter, got null", () => open("webgpu", { adapter: null as never })],
    ["open: powerPreference must be low-power or high-performance, got fast", () => open("webgpu", { powerPreference: "fast" as never })],
    ["open: revectorize must be true or false, got 1", () => open("wasm", { revectorize: 1 as never })],
    ["open: options are an object, got null", () => open("wasm", null as never)],
    ["open: options are an object, got two", () => open("wasm", "two" as never)],
    ["open: mode must be one of webgpu, webgl2, webasm, cpu, got gpu", () => open("reference", { mode: "gpu" as never })],
    ["best: powerPreference must be low-power or high-performance, got fast", () => best({ powerPreference: "fast" as never })],
    ["best: has no option 'thread'; options are threads, revectorize, mode, adapter, powerPreference", () => best({ thread: 2 } as never)],
    ...[0, 1.5, 1e9, NaN, -1].map((n): [string, () => Promise<unknown>] => [`open: threads must be a whole number from 1 to 256, got ${n}`, () => open("wasm", { threads: n })]),
  ]
  test.each(cases)("%s", async (message, call) => {
    await expect(call()).rejects.toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
    expect(currentDevice()).toBe(outer)
  })
})

describe("a closed device", () => {
  test("says so when its tensors are read, used or made", async () => {
    const device = await wasm(2)
    const x = tensor([1, 2, 3]), f = compile((a: Tensor) => a.add(1))
    await f(x)
    await device.close()
    const closed = "the wasm device was closed, and its tensors with it; open it again"
    await expect(x.data()).rejects.toThrow(`read: ${closed}`)
    await expect(x.mul(7).data()).rejects.toThrow(`prepare: ${closed}`)
    await expect(f(x)).rejects.toThrow(closed)
    expect(() => tensor([1])).toThrow(`alloc: ${closed}`)
    x.dispose()
    f.dispose()
    await device.close()
  })
  test.each([1, 2])("lets what it was preparing on %i threads fail instead of wait", async (threads) => {
    const device = await wasm(threads)
    const read = tensor([1, 2, 3]).mul(3).exp().data()
    const closing = device.close()
    await expect(read).rejects.toThrow(/closed/)
    await closing
  })
})

describe("at the same time", () => {
  test("reads of overlapping graphs agree", async () => {
    await wasm(2)
    const x = zeros([64, 64]).add(1), y = x.matmul(x), z = y.add(1), s = z.sum()
    const all = await Promise.all([z.data(), y.data(), z.data(), s.data(), y.mul(2).data(), z.data()])
    expect(all.map((d) => d[0])).toEqual([65, 64, 65, 64 * 64 * 65, 128, 65])
  })
  test("many small compilations reach all threads", async () => {
    await wasm(3)
    const x = tensor(Float32Array.from({ length: 60_000 }, (_, i) => i % 7))
    const reads = Array.from({ length: 40 }, (_, i) => x.mul(i + 0.5).add(i).exp().log().data())
    const compiled = Array.from({ length: 20 }, async (_, i) => {
      const y = await compile((a: Tensor) => a.add(i + 0.25).mul(2))(x)
      return (await y.data())[1]
    })
    const found = await Promise.all(reads)
    found.forEach((d, i) => expect(d[1]).toBeCloseTo(i + 0.5 + i, 3))
    expect(await Promise.all(compiled)).toEqual(Array.from({ length: 20 }, (_, i) => 2 * (1 + i + 0.25)))
  })
  test("one device computes while another opens and closes", async () => {
    const first = await wasm(2)
    const x = tensor([1, 2, 3])
    const work = Promise.all(Array.from({ length: 10 }, (_, i) => x.mul(i + 2).data()))
    const second = await wasm(2)
    const y = tensor([4])
    expect((await work).map((d) => d[1])).toEqual(Array.from({ length: 10 }, (_, i) => 2 * (i + 2)))
    await second.close()
    expect(await x.add(1).tolist()).toEqual([2, 3, 4])
    expect(y.device).toBe(second)
    expect(withDevice(first, () => tensor([1])).device).toBe(first)
  })
  test("two calls of one compiled function do not share its temporaries across a routine", async () => {
    await wasm()
    const f = compile((a: Tensor) => {
      const b = a.matmul(a), c = b.sort({ axis: 1 }).values
      return c.add(b.matmul(a))
    })
    const inputs = Array.from({ length: 6 }, (_, i) => tensor([[i, 1], [2, i + 3]]))
    const alone: unknown[] = []
    for (const x of inputs) alone.push(await (await f(x)).tolist())
    const together = await Promise.all(inputs.map(async (x) => (await f(x)).tolist()))
    expect(together).toEqual(alone)
    const last = f(inputs[0]!)
    f.dispose()
    expect(await (await last).tolist()).toEqual(alone[0])
  })
})

test("an exception of a routine in the middle of a program reaches the reader, and the device goes on", async () => {
  await wasm(2)
  const failing: Op<undefined> = {
    name: "failing",
    meaning: { routine: () => { throw new RangeError("mine") } },
    result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  }
  const x = tensor([1, 2, 3]), before = x.add(1), after = apply(failing, [before.mul(2)], undefined).add(1)
  await expect(realize(before, after)).rejects.toThrow(new RangeError("mine"))
  await expect(after.data()).rejects.toThrow("mine")
  expect(await before.tolist()).toEqual([2, 3, 4])
  const f = compile((a: Tensor) => apply(failing, [a.mul(2)], undefined))
  await expect(f(x)).rejects.toThrow("mine")
  await expect(f(x)).rejects.toThrow("mine")
})

describe("a process with sleeping workers", () => {
  const run = promisify(execFile)
  const start = (body: string): Promise<{ stdout: string }> =>
    run(process.execPath, ["--input-type=module", "-e", `import { open } from "@thimble/kernels"; import { tensor } from "@thimble/core"; ${body}`], { cwd: new URL("../../conformance", import.meta.url), timeout: 20_000 })
  test("ends by itself", async () => {
    const { stdout } = await start('await open("wasm", { threads: 2 }); console.log(await tensor([1, 2]).add(1).tolist(), performance.now()); process.on("exit", () => console.log(performance.now()))')
    expect(stdout).toContain("[ 2, 3 ]")
    const [begun, ended] = stdout.match(/\d+\.\d+/g)!.map(Number) as [number, number]
    expect(ended - begun).toBeLessThan(2000)
  })
  test("ends after an error, too", async () => {
    await expect(start('await open("wasm", { threads: 2 }); await tensor([1, 2]).item()')).rejects.toMatchObject({ code: 1, killed: false })
  })
})

describe("weights refuse", () => {
  const bytes = (own: Partial<Format> = {}): Format => ({
    name: "bytes", bits: 8, group: Infinity,
    encode: (values, shape) => ({ codes: { data: Int8Array.from(values), shape, dtype: "i8" } }),
    code: (part, r, c) => part("codes", r, c), scale: () => expr.constant("f32", 1), ...own,
  })
  const values = Float32Array.of(1, 2, 3, 4)
  const cases: readonly [string, () => unknown][] = [
    ["quantizeWeight: 4 values for [2, 3]", () => quantizeWeight(bytes(), values, [2, 3])],
    ["quantizeWeight: a weight is [rows, columns] in whole numbers, got [-2, -2]", () => quantizeWeight(bytes(), values, [-2, -2])],
    ["quantizeWeight: a weight is [rows, columns] in whole numbers, got [4]", () => quantizeWeight(bytes(), values, [4] as never)],
    ["quantizeWeight: values must be finite, element 2 is NaN; a weight that overflowed cannot be stored in few bits", () => quantizeWeight(bytes(), Float32Array.of(1, 2, NaN, 4), [2, 2])],
    ["quantizeWeight: values must be finite, element 0 is -Infinity; a weight that overflowed cannot be stored in few bits", () => quantizeWeight(bytes(), Float32Array.of(-Infinity, 2, 3, 4), [2, 2])],
    ["quantizeWeight: values must be a Float32Array, got Array", () => quantizeWeight(bytes(), [1, 2, 3, 4] as never, [2, 2])],
    ["format: bytes has a group of 0; neighbours are counted from 1, or Infinity for whole rows", () => quantizeWeight(bytes({ group: 0 }), values, [2, 2])],
    ["format: bytes has a group of 1.5; neighbours are counted from 1, or Infinity for whole rows", () => quantizedWeight(bytes({ group: 1.5 }), [2, 2], {})],
    ["format: part codes has 4 elements for [3, 3]", () => quantizeWeight(bytes({ encode: (v) => ({ codes: { data: Int8Array.from(v), shape: [3, 3], dtype: "i8" } }) }), values, [2, 2])],
    ["quantizeWeight: activations must be f32, int8, int8PerToken or a scale, got int4", () => quantizeWeight(bytes(), values, [2, 2], { activations: "int4" as never })],
    ["matmul: inner sizes differ, [1, 3] × [2, 2] (3 ≠ 2); the last axis of the left must equal the last but one of the right", () => quantizeWeight(bytes(), values, [2, 2]).apply(zeros([1, 3]))],
    ["quantizedMatmul: inner sizes differ, [1, 3] × [2, 2]ᵀ", () => quantizeWeight(bytes(), values, [2, 2], { activations: "int8" }).apply(zeros([1, 3]))],
  ]
  test.each(cases)("%s", (message, call) => {
    expect(call).toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
  })
})
