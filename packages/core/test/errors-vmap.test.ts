import { expect, test } from "vitest"
import { compile, matmul, tensor, vmap, zeros, type Tensor } from "../src/index.ts"

// Calls that TypeScript would refuse, too: what JavaScript sees.
const any = (x: unknown): never => x as never
const x = zeros([2, 3]), v = zeros([3]), s = zeros([])
const first = any((a: unknown) => a) as (...args: unknown[]) => Tensor

const cases: readonly [string, () => unknown][] = [
  ["vmap: needs a function, got the number 5", () => vmap(any(5))],
  // Arguments
  ["vmap: sizes of the mapped axis differ, argument 0, f32[2, 3], and argument 1.a, f32[3] (2 ≠ 3)", () => vmap(first)(x, { a: v })],
  ["vmap: argument 0, f32[2, 3], has no axis 2; use -2 … 1", () => vmap(first, { inAxes: 2 })(x)],
  ["vmap: argument 0, f32[2, 3], has no axis -3; use -2 … 1", () => vmap(first, { inAxes: [-3] })(x)],
  ["vmap: argument 0, f32[2, 3], has no axis 0.5; use -2 … 1", () => vmap(first, { inAxes: 0.5 })(x)],
  ["vmap: argument 1, f32[], has no axis 0; share a 0-d tensor: its axis in inAxes is null", () => vmap(first)(x, s)],
  ["vmap: argument 1 is the number 3 and has no axis to map; share it: its axis in inAxes is null", () => vmap(first)(x, 3)],
  ["vmap: argument 0.scale is string and has no axis to map; share it: its axis in inAxes is null", () => vmap(first)({ x, scale: "2" })],
  ["vmap: no argument is mapped; inAxes must name an axis of at least one tensor", () => vmap(first, { inAxes: [null, null] })(x, v)],
  ["vmap: no argument is mapped; inAxes must name an axis of at least one tensor", () => vmap(() => v)()],
  ["vmap: inAxes has [0, 1] where there is [0]", () => vmap(first, { inAxes: [0, null] })(x)],
  ["vmap: inAxes has [w] at '0' where there is [w, b]", () => vmap(first, { inAxes: [{ w: 0 }] })({ w: x, b: v })],
  ["vmap: inAxes has [w] at '0' where there is a tensor", () => vmap(first, { inAxes: [{ w: 0 }] })(x)],
  ["vmap: inAxes has [a] at '0' where there is an object", () => vmap(first, { inAxes: [{ a: 0 }] })(new (class { a = x })())],
  ["vmap: inAxes is made of numbers and null, got string at '0'", () => vmap(first, { inAxes: [any("0")] })(x)],
  // Results
  ["vmap: the function must return tensors, got the number 5", () => vmap(any(() => 5))(x)],
  ["vmap: the function must return tensors, got undefined", () => vmap(any(() => {}))(x)],
  ["vmap: the function must return tensors, got string at 'a.1'", () => vmap((a: Tensor) => ({ a: [a, "b"] }))(x)],
  ["vmap: the function must not be async; nothing is computed while it is traced", () => vmap(async (a: Tensor) => a.data())(x)],
  ["vmap: the function must not be async; nothing is computed while it is traced", () => vmap(compile((a: Tensor) => a.add(1)))(x)],
  ["vmap: the result has no axis 2; use -2 … 1", () => vmap(first, { outAxes: 2 })(x)],
  ["vmap: the result at 'a' differs between the examples; give it an axis in outAxes", () => vmap((a: Tensor) => ({ a }), { outAxes: { a: null } })(x)],
  ["vmap: outAxes has [0, 1] where there is a tensor", () => vmap(first, { outAxes: [0, 1] })(x)],
  // Inside, shapes are those of one example.
  ["matmul: inner sizes differ, [3] × [2, 3] (3 ≠ 2); transpose the right operand?", () => vmap((a: Tensor) => matmul(a, x))(x)],
  ["sum: no axis 1 in a tensor of rank 1; use -1 … 0", () => vmap((a: Tensor) => a.sum({ axis: 1 }))(x)],
  ["take: index 5 is outside axis 0 of size 3; use 0 … 2", () => vmap((i: Tensor) => v.take(i))(tensor([0, 5], { dtype: "i32" }))],
]
test.each(cases)("%s", (message, call) => {
  expect(call).toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
})

test("an example cannot be read", async () => {
  let read: Promise<unknown> | undefined
  vmap((a: Tensor) => {
    read = a.add(1).data()
    read.catch(() => {})
    return a
  })(x)
  await expect(read).rejects.toThrow("realize: an argument of a compiled or mapped function (example f32[3]) has no value while it is captured; return it, and read the result")
})
