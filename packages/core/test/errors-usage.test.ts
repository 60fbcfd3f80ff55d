import { describe, expect, test } from "vitest"
import * as t from "../src/index.ts"
import { adam, arange, cat, compile, full, grad, loadState, memory, realize, referenceDevice, rand, scope, sgd, tensor, useDevice, valueAndGrad, withDevice, zeros } from "../src/index.ts"

// Calls that TypeScript would refuse: what JavaScript sees.
const any = (x: unknown): never => x as never
const x = zeros([2, 3]), v = tensor([1, 2, 3])

const cases: readonly [string, () => unknown][] = [
  // Values
  ["tensor: needs numbers, got undefined", () => tensor(any(undefined))],
  ["tensor: needs numbers, got bigint", () => tensor(any([1n]))],
  ["tensor: needs numbers, got string", () => tensor(any(["1"]))],
  ["tensor: needs numbers, got undefined", () => tensor(any([1, , 3]))], // oxlint-disable-line no-sparse-arrays
  ["tensor: rows differ in shape, [1] and [2]", () => tensor([[1], [1, 2]])],
  ["tensor: rows differ in shape, [] and [1]", () => tensor([1, [2]])],
  ["tensor: cannot take a BigInt64Array", () => tensor(any(new BigInt64Array(2)))],
  ["tensor: unknown dtype 'toString'; one of f64, f32, f16, bf16, i32, u32, i16, u16, i8, u8, bool", () => tensor([1], { dtype: any("toString") })],
  ["fromBytes: needs a device, got 'wasm'; await open(\"wasm\") returns one", () => tensor([1], { device: any("wasm") })],
  ["full: needs a number, got bigint", () => full([2], any(3n))],
  ["full: needs a number, got undefined", () => full([2], any(undefined))],
  ["arange: bounds must be finite numbers, got NaN", () => arange(NaN)],
  ["arange: bounds must be finite numbers, got Infinity", () => arange(0, Infinity)],
  ["arange: step must be finite and not 0, got 0", () => arange(0, 3, 0)],
  ["linspace: needs a float type, got i32; arange counts in whole numbers", () => t.linspace(0, 1, 3, "i32")],
  ["linspace: bounds must be finite numbers, got NaN", () => t.linspace(NaN, 1, 3)],
  ["rand: needs a seed; rand(shape, { seed: 0 })", () => rand([2], any(undefined))],
  // Shapes
  ["full: sizes must be whole numbers ≥ 0, got [1.5]", () => zeros([1.5])],
  ["full: sizes must be whole numbers ≥ 0, got [-1]", () => zeros([-1])],
  ["full: sizes must be whole numbers ≥ 0, got [9007199254740992]", () => zeros([2 ** 53])],
  ["full: a shape is a list of sizes, got 3; [3]", () => zeros(any(3))],
  ["tensor: a shape is a list of sizes, got string", () => tensor([1], { shape: any("1") })],
  ["reshape: a shape is a list of sizes, got undefined", () => x.reshape(any(undefined))],
  ["reshape: sizes must be whole numbers ≥ 0, got [0.5, 12]", () => x.reshape([0.5, 12])],
  ["reshape: only one size may be -1, got [-1, -1]", () => x.reshape([-1, -1])],
  ["expand: a shape is a list of sizes, got 3; [3]", () => v.expand(any(3))],
  // Operands
  ["add: needs a tensor, got null; make one with tensor(…)", () => x.add(any(null))],
  ["add: needs a tensor, got an array; make one with tensor(…)", () => x.add(any([1]))],
  ["add: needs a tensor or a number, got bigint", () => x.add(any(1n))],
  ["exp: needs a tensor, got the number 1", () => t.exp(any(1))],
  ["matmul: needs a tensor, got the number 2; multiply by a number with mul", () => x.matmul(any(2))],
  ["cat: needs a list of tensors; cat([a, b])", () => cat(any(x))],
  ["cat: needs a tensor, got undefined", () => cat([any(undefined)])],
  ["take: needs a tensor, got an array; make one with tensor(…, { dtype: \"i32\" })", () => x.take(any([1]))],
  ["einsum: the equation must be a string, got number", () => t.einsum(any(5), x)],
  // Axes, indices and options
  ["sum: no axis 2 in a tensor of rank 2; use -2 … 1", () => x.sum({ axis: 2 })],
  ["sum: axes are a number or a list of numbers, got string", () => x.sum({ axis: any("0") })],
  ["sum: options are an object, got 0; name the axis: { axis: 0 }", () => x.sum(any(0))],
  ["sum: has no option 'axes'; options are axis, keepDims", () => x.sum(any({ axes: 0 }))],
  ["variance: options are an object, got 1; name the axis: { axis: 0 }", () => x.variance(any(1))],
  ["argmax: options are an object, got 1; name the axis: { axis: 0 }", () => x.argmax(any(1))],
  ["norm: has no option 'order'; options are axis, keepDims, p", () => x.norm(any({ order: 1 }))],
  ["amax: nothing to reduce in [2, 0]; an empty reduction has no identity", () => zeros([2, 0]).amax({ axis: 1 })],
  ["argmax: nothing to choose from in [0]", () => zeros([0]).argmax()],
  ["slice: bounds must be whole numbers, got 0.5", () => v.slice([0.5, 2])],
  ["slice: a range is a list [start, end], got 1; selectAt takes one index of an axis", () => v.slice(any(1))],
  ["narrow: start and length must be whole numbers, got 0 and 1.5", () => v.narrow(0, 0, 1.5)],
  ["selectAt: no index 3 in axis 0 of size 3", () => v.selectAt(0, 3)],
  // Gradients, trees, optimizers, devices
  ["grad: needs a tensor, got the number 5; the loss must be a tensor of one element", () => grad(any(5), [])],
  ["grad: needs a list of tensors to differentiate by; grad(loss, [w])", () => grad(tensor(1), any(tensor(1)))],
  ["grad: needs a tensor, got the number 5; the loss must be a tensor of one element", () => valueAndGrad((() => 5) as never as () => t.Tensor)({})],
  ["valueAndGrad: needs a function, got number", () => valueAndGrad(5 as never as () => t.Tensor)],
  ["customVjp: needs a tensor, got the number 5; the forward function must return one", () => t.customVjp(any(() => 5), () => [])(x)],
  ["loadState: needs names and tensors, got null", () => loadState({ a: x }, any(null))],
  ["loadState: missing: constructor; no tensor: a", () => loadState({ a: x, constructor: v }, any({ a: 5 }))],
  ["loadState: missing: b; unknown: c; wrong shape: a [3] instead of [2, 3]", () => loadState({ a: x, b: v }, { a: v, c: x })],
  ["loadState: disposed: a", () => loadState({ a: v }, { a: disposed() })],
  ["sgd: the rate must be finite and ≥ 0, got NaN; check the schedule that it comes from", () => sgd({ rate: NaN })],
  ["adam: the rate must be finite and ≥ 0, got -1; check the schedule that it comes from", () => adam({ rate: -1 })],
  ["adam: the state has no 'step'; init() it with the parameters that are updated", () => adam({ rate: 1 }).update({ v }, { v }, any({}))],
  ["useDevice: needs a device, got 'wasm'; await open(\"wasm\") returns one", () => useDevice(any("wasm"))],
  ["withDevice: needs a device, got undefined; await open(\"wasm\") returns one", () => withDevice(any(undefined), () => 1)],
  ["compile: needs a function, got number", () => compile(5 as never as () => t.Tensor)],
  ["compile: donate names arguments by position, got -1", () => compile((a: t.Tensor) => a, { donate: [-1] })],
]
test.each(cases)("%s", (message, call) => {
  expect(call).toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
})

function disposed(): t.Tensor {
  const y = tensor([1, 2, 3])
  y.dispose()
  return y
}

const later: readonly [string, () => Promise<unknown>][] = [
  ["realize: needs a tensor, got an array; spread the tensors of a tree: realize(...tensorsOf(tree))", () => realize(any([v]))],
  ["scope: needs a function, got number", () => scope(any(5))],
  ["full: u8[2147483648] cannot be stored: the reference device takes at most 2147483647 elements, got 2147483648; compute in smaller pieces", () => zeros([2 ** 31], "u8").data()],
  ["full: f32[600000000] cannot be stored: the reference device takes at most 2147483648 bytes, got 2400000000; compute in smaller pieces", () => zeros([6e8]).data()],
  ["compile: the function must not be async; nothing is computed while it is captured", () => compile(async (_a: t.Tensor) => { await Promise.reject(new Error("never seen")) })(v)],
  ["compile: the result has a promise at 'a'; nothing is computed while it is captured", () => compile((a: t.Tensor) => ({ a: a.item().catch(() => 0) }))(v.sum())],
  ["compile: a bigint becomes an i32, and 1099511627776 is out of its range", () => compile((a: t.Tensor) => a.add(0))(2n ** 40n)],
  ["compile: argument 5 is donated, and there are 1", () => compile((a: t.Tensor) => a.add(0), { donate: [5] })(v)],
  ["item: needs one element, got [3]; read data()", () => v.item()],
]
test.each(later)("%s", async (message, call) => {
  const before = memory().bytes
  await expect(call()).rejects.toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
  expect(memory().bytes).toBeLessThanOrEqual(before + 4)
})

test("an argument of a compiled function cannot be read while it is captured", async () => {
  let read: Promise<unknown> | undefined
  await compile((a: t.Tensor) => {
    read = a.data()
    read.catch(() => {})
    return a.add(1)
  })(v)
  await expect(read).rejects.toThrow("realize: an argument of a compiled or mapped function (input f32[3]) has no value while it is captured; return it, and read the result")
})

describe("a disposed tensor is refused", () => {
  test("as an operand, and hidden in a graph", async () => {
    expect(() => disposed().add(1)).toThrow("add: operand f32[3] was disposed; keep it until its last use, or return it from the scope")
    const y = tensor([1, 2]), sum = y.add(1).mul(2)
    y.dispose()
    await expect(sum.data()).rejects.toThrow("realize: an operand, f32[2] made by buffer, was disposed before it was used; realize results before disposing their operands")
    await expect(disposed().data()).rejects.toThrow("realize: f32[3] was disposed")
    await expect(realize(disposed())).rejects.toThrow("realize: f32[3] was disposed")
  })
  test("as an argument of a compiled function, and captured by one", async () => {
    const add = compile((a: t.Tensor) => a.add(1))
    await expect(add(disposed())).rejects.toThrow("compile: an argument, f32[3], was disposed")
    const captured = tensor([1, 2, 3]), f = compile((a: t.Tensor) => a.add(captured)), same = compile(() => captured)
    expect(await (await f(v)).tolist()).toEqual([2, 4, 6])
    expect(await same()).toBe(captured)
    captured.dispose()
    await expect(f(v)).rejects.toThrow("run: f32[3], which this program reads, was disposed; keep what a compiled function captures, or pass it as an argument")
    await expect(same()).rejects.toThrow("compile: f32[3], which the function captured and returns, was disposed; return a copy: t.add(0)")
  })
  test("donated at two places or to two calls at once, it is released once; disposed before the call ran, it is missed", async () => {
    const step = compile((a: t.Tensor, b: t.Tensor) => a.add(b), { donate: [0, 1] })
    const both = tensor([1, 2, 3])
    expect(await (await step(both, both)).tolist()).toEqual([2, 4, 6])
    expect(both.disposed).toBe(true)
    const before = memory().bytes, a = tensor([1, 2, 3]), b = tensor([1, 1, 1])
    for (const y of await Promise.all([step(a, b), step(a, b)])) {
      expect(await y.tolist()).toEqual([2, 3, 4])
      y.dispose()
    }
    expect(memory().bytes).toBe(before)
    const c = tensor([1, 2, 3]), call = step(c, tensor([1, 2, 3]))
    c.dispose()
    await expect(call).rejects.toThrow("compile: an argument, f32[3], was disposed before the function ran; was it donated to another call?")
  })
  test("and its memory comes back once, however often it is disposed", () => {
    const before = memory().bytes, y = tensor([1, 2])
    y.dispose()
    y.dispose()
    expect(memory().bytes).toBe(before)
  })
})

test("arange is i32 of whole numbers and f32 of others", async () => {
  expect([arange(3).dtype, arange(0, 1, 0.25).dtype, arange(0.5, 3).dtype]).toEqual(["i32", "f32", "f32"])
  expect(await arange(0, 1, 0.25).tolist()).toEqual([0, 0.25, 0.5, 0.75])
})
test("a compiled function does not call another; what it ends in is one error", async () => {
  const inner = compile((a: t.Tensor) => a.add(1))
  let called: Promise<unknown> | undefined
  await expect(compile((a: t.Tensor) => ({ y: (called = inner(a)) }))(v)).rejects.toThrow("compile: the result has a promise at 'y'; nothing is computed while it is captured")
  await expect(called).rejects.toThrow("compile: a compiled function was called while another is captured; call the plain function there")
})
test("results that are no tensors come back as they are", async () => {
  expect(await compile((a: t.Tensor) => ({ rank: a.rank, name: "a", none: undefined }))(v)).toEqual({ rank: 1, name: "a", none: undefined })
})
test("a compiled function keeps programs of two devices of one name apart", async () => {
  const a = referenceDevice(), b = referenceDevice()
  const f = compile((y: t.Tensor) => y.add(1))
  const on = (device: t.Device) => withDevice(device, () => tensor([1], { device }))
  expect((await f(on(a))).device).toBe(a)
  expect((await f(on(b))).device).toBe(b)
  expect(f.programs).toBe(2)
  const held = on(a)
  await expect(withDevice(b, () => compile(() => held.add(1))())).rejects.toThrow("compile: the arguments live on reference, what the function captured on reference; move one with .to(device)")
})
