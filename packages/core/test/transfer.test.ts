import { afterAll, beforeAll, expect, test } from "vitest"
import { add, currentDevice, expr, full, memory, moveTo, mul, ones, quantizeWeight, referenceDevice, tensor, toDevice, useDevice, withDevice, zeros, type Device, type Format, type Tensor } from "../src/index.ts"
import { open } from "../../kernels/src/index.ts"

const reference = referenceDevice()
let wasm: Device
const outer = currentDevice()
beforeAll(async () => {
  wasm = await open("wasm", { threads: 1 })
  useDevice(reference)
})
afterAll(async () => {
  useDevice(outer)
  await wasm.close()
})

test("a tensor moves there and back with its bits, whatever its dtype", async () => {
  for (const dtype of ["f32", "f16", "bf16", "f64", "i32", "u8", "bool"] as const) {
    const x = tensor([[1, 0, 3], [4, 5, 6]], { dtype })
    const y = await x.to(wasm), z = await y.to(reference)
    expect([y.device, y.dtype, y.shape, z.device]).toEqual([wasm, dtype, [2, 3], reference])
    expect(await z.raw()).toEqual(await x.raw())
  }
})
test("the device it is on returns the same tensor, computed or not", async () => {
  const x = tensor([1, 2]), y = add(x, 1)
  expect(await x.to(reference)).toBe(x)
  expect(await y.to(reference)).toBe(y)
})
test("a lazy tensor is computed where its operands are, and the original keeps its memory", async () => {
  const x = tensor([1, 2, 3]), y = mul(x, 2)
  const before = memory().bytes
  const there = await y.to(wasm)
  expect(memory().bytes - before).toBe(24)
  expect(await add(there, await x.to(wasm)).tolist()).toEqual([3, 6, 9])
  expect(await y.tolist()).toEqual([2, 4, 6])
})
test("a constant is computed on the device itself, and stays usable anywhere", async () => {
  const c = full([2], 3), there = await c.to(wasm)
  expect(there.device).toBe(wasm)
  expect(c.device).toBe(undefined)
  expect(await add(c, tensor([1, 2])).tolist()).toEqual([4, 5])
  expect((await zeros([0, 2]).to(wasm)).shape).toEqual([0, 2])
})
test("a tree moves leaf by leaf; a tensor at two places stays one; weights keep their format", async () => {
  const x = tensor([1, 2]), lazy = mul(x, 3)
  const bytes: Format = {
    name: "bytes", bits: 8, group: Infinity,
    encode: (values, shape) => ({ codes: { data: Int8Array.from(values), shape, dtype: "i8" } }),
    code: (part, r, c) => part("codes", r, c), scale: () => expr.constant("f32", 1),
  }
  const tree = { a: x, b: [x, lazy, ones([1])] as const, n: 5, name: "model", w: quantizeWeight(bytes, Float32Array.of(1, 2, 3, 4), [2, 2]) }
  const moved = await toDevice(tree, wasm)
  expect(moved.a).toBe(moved.b[0])
  expect([moved.a.device, moved.b[1].device, moved.b[2].device, moved.n, moved.name]).toEqual([wasm, wasm, wasm, 5, "model"])
  expect(await moved.b[1].tolist()).toEqual([3, 6])
  expect(await moved.w.apply(await tensor([[1, 1]]).to(wasm)).tolist()).toEqual([[3, 7]])
  expect(tree.a.device).toBe(reference)
})
test("known bounds of indices move along", async () => {
  const index = await tensor([0, 7], { dtype: "i32" }).to(wasm)
  const x = await zeros([3]).to(wasm)
  expect(() => x.take(index)).toThrow("take: index 7 is outside axis 0 of size 3")
})
test("what cannot move says why", async () => {
  const x = tensor([1])
  x.dispose()
  await expect(x.to(wasm)).rejects.toThrow("to: f32[1] was disposed")
  await expect(moveTo(tensor([1]), "wasm" as unknown as Device)).rejects.toThrow(`to: needs a device, got 'wasm'; await open("wasm") returns one`)
})

test("operands on two devices are refused at the call, or at the read when a constant was read elsewhere", async () => {
  const here = tensor([1, 2]), there = await tensor([3, 4]).to(wasm)
  expect(() => add(here, there)).toThrow("add: operands live on reference and wasm; move one with .to(device)")
  // A read constant lies on the device that was current then.
  const c = full([2], 5), sum: Tensor = add(c, 1)
  await withDevice(wasm, () => c.data())
  expect(c.device).toBe(wasm)
  expect(() => add(here, c)).toThrow("add: operands live on reference and wasm; move one with .to(device)")
  expect(await sum.tolist()).toEqual([6, 6])
  expect(sum.device).toBe(wasm)
  const d = full([2], 5), mixed = add(add(d, 1), here)
  await withDevice(wasm, () => d.data())
  await expect(mixed.data()).rejects.toThrow("realize: tensors live on reference and wasm; move some with .to(device), or realize them separately")
})
