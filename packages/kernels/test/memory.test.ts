import { freemem } from "node:os"
import { afterEach, describe, expect, test } from "vitest"
import {
  compile, currentDevice, expr, memory, quantizeWeight, realize, referenceDevice, tensor, useDevice, withDevice, zeros, type Buffer, type Device, type Format, type Tensor,
} from "@thimble/core"
import { open } from "../src/index.ts"

const outer = currentDevice()
let device: Device
afterEach(async () => {
  useDevice(outer)
  await device.close()
})
const wave = (shape: readonly number[], phase: number): Tensor =>
  tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i + phase)), { shape })
const addressOf = (x: Tensor): number => (x.storage!.buffer as Buffer & { at: number }).at

/** Rounded to 1/64, in i8. */
const bytes: Format = {
  name: "bytes", bits: 8, group: Infinity,
  encode: (values, shape) => ({ codes: { data: Int8Array.from(values, (v) => Math.round(v * 64)), shape, dtype: "i8" } }),
  code: (part, r, c) => part("codes", r, c), scale: () => expr.constant("f32", 1 / 64),
}

// Untouched memory costs addresses only; what the tests touch is small.
const enough = freemem() > 2 ** 30
if (!enough) test.skip("high addresses: this machine has less than 1 GiB of free memory", () => {})

const programs: readonly [string, (x: Tensor, y: Tensor) => Tensor][] = [
  ["map", (x) => x.mul(2).add(1).exp()],
  ["narrow types", (x) => x.mul(50).cast("f16").cast("i8")],
  ["reduce rows", (x) => x.sum({ axis: 1 })],
  ["reduce columns", (x) => x.amax({ axis: 0 })],
  ["reduce all", (x) => x.square().sum()],
  ["transpose", (x) => x.T.add(0)],
  ["matmul", (x, y) => x.matmul(y)],
  ["matmul by a transpose", (x) => x.matmul(x.T)],
  ["one row", (x, y) => x.narrow(0, 0, 1).matmul(y)],
  ["one row by a transpose", (x) => x.narrow(0, 3, 1).matmul(x.T)],
  ["batches", (x, y) => x.reshape([3, 20, 72]).matmul(y)],
  ["f64", (x) => x.cast("f64").mul(3).sum({ axis: 0 })],
  ["look-up", (x) => x.take(tensor([3, 0, 59, 3], { dtype: "i32", device: x.device! }))],
  ["scatter", (x) => x.scatterAdd(tensor(Int32Array.from({ length: 60 * 72 }, (_, i) => i % 5), { shape: [60, 72], device: x.device! }), 0, 5)],
  ["softmax", (x) => x.softmax()],
  ["sort", (x) => x.argsort({ axis: 1 })],
]

describe.runIf(enough)("addresses above 2 GiB", () => {
  test.each([1, 2])("hold tensors like any others, on %i threads; growth keeps data", async (threads) => {
    device = await open("wasm", { threads })
    const low = tensor([1, 2, 3])
    const block = device.alloc(2 ** 31 + 2 ** 20)
    expect(await low.tolist()).toEqual([1, 2, 3])
    const x = wave([60, 72], 0), y = wave([72, 50], 1)
    expect(addressOf(x)).toBeGreaterThan(2 ** 31)
    const reference = referenceDevice()
    const xr = await x.to(reference), yr = await y.to(reference)
    for (const [name, fn] of programs) {
      const z = fn(x, y), got = await z.data(), want = await fn(xr, yr).data()
      expect(addressOf(z), name).toBeGreaterThan(2 ** 31)
      for (let i = 0; i < got.length; i++) expect(Math.abs(got[i]! - want[i]!), `${name}, element ${i}`).toBeLessThan(1e-3)
    }
    const w = Float32Array.from({ length: 40 * 64 }, (_, i) => Math.cos(i))
    for (const activations of ["f32", "int8"] as const) {
      const product = (d: Device, a: Tensor): Promise<ArrayLike<number>> => withDevice(d, () => quantizeWeight(bytes, w, [40, 64], { activations }).apply(a.narrow(1, 0, 64)).data())
      const got = await product(device, x), want = await product(reference, xr)
      for (let i = 0; i < got.length; i++) expect(Math.abs(got[i]! - want[i]!), activations).toBeLessThan(1e-3)
    }
    device.free(block)
    expect(await low.add(1).tolist()).toEqual([2, 3, 4])
  })
  test("reach the last byte of 4 GiB", async () => {
    device = await open("wasm", { threads: 1 })
    const hole = device.alloc(2 ** 22), mark = device.alloc(64) as Buffer & { at: number }
    const x0 = wave([60, 72], 0), bytes = 60 * 72 * 4
    const room = 2 ** 32 - (addressOf(x0) + bytes) - bytes
    const block = device.alloc(room)
    device.free(hole)
    // The hole takes it unless it is full: fill what precedes the end.
    const filler = device.alloc(2 ** 22)
    const x = wave([60, 72], 0)
    expect(addressOf(x) + bytes).toBe(2 ** 32)
    device.free(filler)
    device.free(mark)
    const reference = referenceDevice(), y = wave([72, 50], 1)
    const want = await (await x0.to(reference)).matmul(await y.to(reference)).data()
    const got = await x.matmul(y).data()
    got.forEach((v, i) => expect(Math.abs(v - want[i]!)).toBeLessThan(1e-4))
    expect(await x.sum().item()).toBeCloseTo(await x0.sum().item(), 4)
    expect(await x.sub(x0).abs().amax().item()).toBe(0)
    device.free(block)
  })
})

describe("what cannot be had", () => {
  test.runIf(enough)("more than 4 GiB is a memory error at the call, and leaves the device usable", async () => {
    device = await open("wasm", { threads: 1 })
    const x = tensor([1, 2, 3])
    const block = device.alloc(2 ** 32 - 2 ** 28)
    expect(() => device.alloc(2 ** 28)).toThrowError(expect.objectContaining({ code: "memory", op: "alloc" }))
    const used = device.used!()
    await expect(zeros([2 ** 26]).data()).rejects.toThrowError(expect.objectContaining({ code: "memory" }))
    expect(device.used!()).toBe(used)
    device.free(block)
    expect(await x.add(1).tolist()).toEqual([2, 3, 4])
  })
  test("a tensor larger than the device is refused before anything is made", async () => {
    device = await open("wasm", { threads: 1 })
    await expect(zeros([2 ** 30 + 100]).data()).rejects.toThrow(`full: f32[1073741924] cannot be stored: the wasm device takes at most ${device.limits.bufferBytes} bytes, got 4294967696; compute in smaller pieces`)
    // All of 4 GiB but what the device keeps for itself.
    expect(device.limits.bufferBytes).toBeGreaterThan(2 ** 32 - 2 ** 16)
    await expect(zeros([2 ** 31], "i8").data()).rejects.toThrow("takes at most 2147483647 elements")
    expect(await zeros([65536, 32768]).add(1).narrow(0, 0, 2).sum().item()).toBe(65536)
  })
})

describe("nothing leaks", () => {
  test("when programs fail: in an allocation, in a routine, or at a disposed operand", async () => {
    // A name of its own keeps apart what the collector takes back from earlier tests.
    device = useDevice({ ...(await open("wasm", { threads: 1 })), name: "leaking" })
    const x = wave([64, 64], 0)
    const singular = compile((a: Tensor) => a.mul(0).inverse().add(a.matmul(a)).inverse())
    await expect(singular(x)).rejects.toThrow("inverse: the matrix must have full rank")
    singular.dispose()
    await realize(x.add(1)).then(() => {})
    const before = device.used!(), held = memory().devices.leaking
    for (let i = 0; i < 3; i++) {
      await expect(x.mul(0).inverse().add(x.matmul(x)).data()).rejects.toThrow("inverse: the matrix must have full rank")
      const gone = tensor([1, 2]), y = gone.add(1)
      gone.dispose()
      await expect(y.data()).rejects.toMatchObject({ code: "disposed" })
      const late = tensor([1, 2]), read = late.add(i + 0.5).data()
      late.dispose()
      await expect(read).rejects.toMatchObject({ code: "disposed" })
      const again = compile((a: Tensor) => a.mul(0).inverse())
      await expect(again(x)).rejects.toThrow("inverse: the matrix must have full rank")
      again.dispose()
      await new Promise((done) => setTimeout(done))
    }
    expect(memory().devices.leaking).toEqual(held)
    expect(device.used!()).toBe(before)
  })
  test("when the second of a program's temporaries finds no room", async () => {
    device = await open("wasm", { threads: 1 })
    const free: number[] = [], made: number[] = []
    let left = 2
    const tight: Device = {
      ...device,
      alloc(bytes) {
        if (left-- === 0) throw new Error("no room")
        made.push(bytes)
        return device.alloc(bytes)
      },
      free(buffer) {
        free.push(buffer.bytes)
        device.free(buffer)
      },
    }
    useDevice(tight)
    const x = tensor([[1, 2], [3, 4]]) // the first allocation
    const y = x.matmul(x).softmax().matmul(x).softmax().matmul(x)
    await expect(y.data()).rejects.toThrow("no room")
    expect(free).toEqual(made.slice(1))
    left = 100
    expect((await y.data()).length).toBe(4)
  })
  test("memory() tells what the device has handed out", async () => {
    device = await open("wasm", { threads: 1 })
    const x = tensor([1, 2, 3])
    expect(memory().devices.wasm!.used).toBe(device.used!())
    const used = device.used!()
    x.dispose()
    expect(device.used!()).toBe(used - 64)
  })
})
