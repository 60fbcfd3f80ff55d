import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  add, apply, attention, checkpoint, compile, crossEntropy, customVjp, grad, jvp, linear, matmul, moveAxis, mul, ones, randn, random, realize, round, selectAt, sin, softmax, square, stack, stopGradient, sub, sum,
  tanh, tensor, tensorsOf, valueAndGrad, vmap, zeros, type Op, type Shape, type Tensor,
} from "../src/index.ts"

// That it is a loop over every single op is checked in the conformance package; here is what it does to functions.

const at = (x: Tensor, axis: number, i: number): Tensor => selectAt(x, axis, i)
const examples = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
async function expectEqual(got: readonly Tensor[], want: readonly Tensor[], digits = 5): Promise<void> {
  await realize(...got, ...want)
  for (const [i, y] of got.entries()) {
    expect(y.shape).toEqual(want[i]!.shape)
    expect(y.dtype).toBe(want[i]!.dtype)
    const [a, b] = [await y.data(), await want[i]!.data()]
    a.forEach((v, k) => expect(v).toBeCloseTo(b[k]!, digits))
  }
  expect(got.length).toBe(want.length)
}

const shape = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 })
const place = (s: Shape): fc.Arbitrary<number> => fc.integer({ min: -s.length - 1, max: s.length })
/** A tensor of some shape, with one more axis at a place. */
const along = (s: Shape, axis: number, n: number, seed: number): Tensor => randn(s.toSpliced(axis < 0 ? axis + s.length + 1 : axis, 0, n), { seed })

describe("a mapped function is a loop over examples", () => {
  test("whatever axes they stand along, in the arguments and in the result", () => fc.assert(fc.asyncProperty(
    shape.chain((s) => fc.tuple(fc.constant(s), place(s), place(s), place(s))), fc.integer({ min: 1, max: 4 }), fc.boolean(), async ([s, a, b, out], n, shared) => {
      const f = (x: Tensor, y: Tensor): Tensor => add(mul(sin(x), y), sum(x))
      const xs = along(s, a, n, 1), ys = shared ? randn(s, { seed: 2 }) : along(s, b, n, 2)
      const want = stack(examples(n).map((i) => f(at(xs, a, i), shared ? ys : at(ys, b, i))), out)
      await expectEqual([vmap(f, { inAxes: [a, shared ? null : b], outAxes: out })(xs, ys)], [want])
    }), { numRuns: 40 }))
  test("nested: every pair, and again every pair of rows", () => fc.assert(fc.asyncProperty(shape, fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }), async (s, m, n) => {
    const f = (x: Tensor, y: Tensor): Tensor => sum(softmax(add(mul(x, y), x).reshape([1, -1])).mul(y.reshape([1, -1])))
    const xs = along(s, 0, m, 3), ys = along(s, 0, n, 4)
    const pairs = (f2: typeof f) => vmap((x: Tensor) => vmap((y: Tensor) => f2(x, y))(ys))(xs)
    await expectEqual([pairs(f)], [stack(examples(m).map((i) => stack(examples(n).map((j) => f(at(xs, 0, i), at(ys, 0, j))))))])
    await expectEqual([vmap(vmap(f, { inAxes: [null, 0] }), { inAxes: [0, null], outAxes: 1 })(xs, ys)], [moveAxis(pairs(f), 0, 1)])
  }), { numRuns: 15 }))
  test("trees, of which parts are shared, in and out", async () => {
    const layer = { w: randn([3, 4, 2], { seed: 1 }), b: randn([4], { seed: 2 }), scale: 2 }, x = randn([2, 3], { seed: 3 })
    const f = vmap((p: typeof layer, v: Tensor) => ({ y: linear(v, p.w, p.b).mul(p.scale), parts: [v, p.b] }), {
      inAxes: [{ w: 0, b: null, scale: null }, 1], outAxes: { y: 0, parts: [1, null] },
    })
    const { y, parts } = f(layer, x)
    await expectEqual([y, ...parts], [stack(examples(3).map((i) => linear(at(x, 1, i), at(layer.w, 0, i), layer.b).mul(2))), x, layer.b])
    expect(parts[1]).toBe(layer.b)
  })
  test("a result that no example has a part in is repeated, or left as it is", async () => {
    const x = ones([3, 2])
    await expectEqual(vmap((v: Tensor) => [zeros([2]), v])(x), [zeros([3, 2]), x])
    await expectEqual([vmap((_: Tensor) => tensor([1, 2]), { outAxes: null })(x)], [tensor([1, 2])])
  })
  test("of no examples there are no results", async () => {
    const w = randn([3, 4], { seed: 1 }), f = (v: Tensor): Tensor => sum(softmax(matmul(v, w)).cumsum(0)), x = zeros([0, 3])
    expect([vmap(f)(x).shape, ...vmap((v: Tensor) => grad(f(v), [v, w]))(x).map((g) => g.shape)]).toEqual([[0], [0, 3], [0, 3, 4]])
    await expectEqual(grad(sum(vmap(f)(x)), [w]), [zeros([3, 4])])
  })
  test("where a kernel takes one number for all examples, and each has its own, too", async () => {
    const q = randn([3, 1, 2, 4, 4], { seed: 1 }), lengths = tensor([1, 4, 2], { dtype: "i32" })
    const f = (x: Tensor, length: Tensor): Tensor => attention(x, x, x, { causal: true, length, qOffset: length })
    await expectEqual([vmap(f)(q, lengths)], [stack(examples(3).map((i) => f(at(q, 0, i), at(lengths, 0, i))))])
    await expectEqual([vmap(f, { inAxes: [0, null] })(q, tensor(3, { dtype: "i32" }))], [stack(examples(3).map((i) => f(at(q, 0, i), tensor(3, { dtype: "i32" }))))])
  })
  test("a routine gets its own memory for each example, also of what they share", async () => {
    const inPlace: Op<undefined> = {
      name: "inPlace", result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
      meaning: { routine: ([x, y]) => { y!.data.forEach((v, i) => (y!.data[i] = v + x!.data[i]!)); return y!.data } },
    }
    const x = tensor([[1, 2], [3, 4]]), y = tensor([10, 20])
    await expectEqual([vmap((v: Tensor) => apply(inPlace, [v, y], undefined))(x)], [add(x, y)])
  })
})

describe("gradients", () => {
  const w = randn([4, 3], { seed: 1 }), b = randn([4], { seed: 2 }), xs = randn([5, 3], { seed: 3 }), ys = tensor([1, 0, 3, 2, 1], { dtype: "i32" })
  const loss = (p: { w: Tensor; b: Tensor }, x: Tensor, y: Tensor): Tensor => crossEntropy(linear(x, p.w, p.b).reshape([1, 4]), y.reshape([1]))
  test("of each example: those of a loop", async () => {
    const { value, grads } = vmap(valueAndGrad(loss), { inAxes: [null, 0, 0] })({ w, b }, xs, ys)
    const each = examples(5).map((i) => valueAndGrad(loss)({ w, b }, at(xs, 0, i), at(ys, 0, i)))
    await expectEqual([value, grads.w, grads.b], [stack(each.map((e) => e.value)), stack(each.map((e) => e.grads.w)), stack(each.map((e) => e.grads.b))])
  })
  test("of all at once: those of the batch", async () => {
    const all = valueAndGrad((p: { w: Tensor; b: Tensor }) => vmap((x: Tensor, y: Tensor) => loss(p, x, y))(xs, ys).mean())({ w, b })
    const batch = valueAndGrad((p: { w: Tensor; b: Tensor }) => crossEntropy(linear(xs, p.w, p.b), ys))({ w, b })
    await expectEqual(tensorsOf(all), tensorsOf(batch))
  })
  test("of an ensemble: every member its own", async () => {
    const members = { w: randn([2, 4, 3], { seed: 5 }), b: randn([2, 4], { seed: 6 }) }
    const { grads } = vmap(valueAndGrad((p: typeof members) => crossEntropy(linear(xs, p.w, p.b), ys)))(members)
    const each = examples(2).map((i) => valueAndGrad((p: typeof members) => crossEntropy(linear(xs, p.w, p.b), ys))({ w: at(members.w, 0, i), b: at(members.b, 0, i) }).grads)
    await expectEqual([grads.w, grads.b], [stack(each.map((g) => g.w)), stack(each.map((g) => g.b))])
  })
  test("second derivatives: a Hessian, row by row", async () => {
    const f = (x: Tensor): Tensor => sum(mul(tanh(x), sum(square(x)))), x = randn([3], { seed: 7 }), eye = tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    const [dx] = grad(f(x), [x]) as [Tensor]
    const row = (e: Tensor): Tensor => grad(dx, [x], e)[0]!
    await expectEqual([vmap(row)(eye)], [stack(examples(3).map((i) => row(at(eye, 0, i))))])
  })
  test("in directions: jvp of a mapped function, and mapped jvp", async () => {
    const f = (x: Tensor): Tensor => softmax(matmul(w, sin(x))), d = randn([5, 3], { seed: 8 })
    const each = examples(5).map((i) => jvp(f, [at(xs, 0, i)], [at(d, 0, i)]))
    const want = [stack(each.map((e) => e.value)), stack(each.map((e) => e.tangent))]
    await expectEqual(tensorsOf(jvp(vmap(f), [xs], [d])), want)
    await expectEqual(tensorsOf(vmap((x: Tensor, t: Tensor) => jvp(f, [x], [t]))(xs, d)), want)
  })
  test("a tensor at two places is one, inside as outside", async () => {
    const f = (p: { a: Tensor; b: Tensor }): Tensor => sum(mul(p.a, square(p.b)))
    const { grads } = vmap(valueAndGrad(f))({ a: xs, b: xs })
    await expectEqual([grads.a, grads.b], [mul(square(xs), 3), mul(square(xs), 3)])
  })

  const straight = customVjp((x, s) => mul(round(x), s), (dy, _out, x, s) => [mul(dy, s), sum(mul(dy, round(x)))])
  const block = checkpoint((x, v) => sin(matmul(v, x)))
  const custom: Record<string, (x: Tensor, s: Tensor) => Tensor> = {
    "a gradient of one's own": (x, s) => straight(x, s),
    stopGradient: (x, s) => mul(stopGradient(x), add(x, s)),
    checkpoint: (x, s) => mul(block(x, mul(w, s)), s),
  }
  test.each(Object.entries(custom))("%s keeps its meaning, for examples and for what they share", async (_name, f) => {
    const s = tensor(1.5), value = (x: Tensor): Tensor => sum(square(f(x, s)))
    const each = examples(5).map((i) => at(xs, 0, i)), slopes = each.map((x) => grad(value(x), [x, s]))
    const want = [stack(slopes.map((g) => g[0]!)), stack(slopes.map((g) => g[1]!))]
    await expectEqual(vmap((x: Tensor) => grad(value(x), [x, s]))(xs), want)
    await expectEqual(grad(sum(vmap(value)(xs)), [xs, s]), [want[0]!, sum(want[1]!)])
  })
  test("a checkpoint of shared weights is computed again for all examples together", () => {
    const ops = (f: (x: Tensor, v: Tensor) => Tensor): string[] => opsOf(grad(sum(vmap((x: Tensor) => f(x, w))(xs)), [w])).filter((name) => name === "matmul" || name === "after")
    expect(ops(block)).toEqual(["after", "after", ...ops((x, v) => sin(matmul(v, x)))].sort())
  })
})
/** Names of the ops of a graph. */
function opsOf(outputs: readonly Tensor[]): string[] {
  return graphOf(outputs).map((t) => t.op.name).sort()
}
function graphOf(outputs: readonly Tensor[]): Tensor[] {
  const seen = new Set<Tensor>(outputs)
  for (const t of seen) for (const s of t.sources) seen.add(s)
  return [...seen]
}

test("inside a compiled function, also with run-time scalars", async () => {
  const step = compile((w: Tensor, xs: Tensor, rate: number | Tensor) => sub(w, mul(sum(vmap((x: Tensor) => grad(sum(tanh(matmul(w, x))), [w])[0]!)(xs), { axis: 0 }), rate)))
  for (const rate of [0.5, 0.1]) {
    const w = randn([2, 3], { seed: 1 }), xs = randn([4, 3], { seed: 2 })
    const want = examples(4).map((i) => grad(sum(tanh(matmul(w, at(xs, 0, i)))), [w])[0]!).reduce(add)
    await expectEqual([await step(w, xs, rate)], [sub(w, mul(want, rate))])
  }
  expect(step.programs).toBe(1)
})
test("mapped again, a function is made of the same ops, so that its program is found again", () => {
  const made = () => graphOf(vmap((x: Tensor) => grad(sum(softmax(x.reshape([1, 3])).cumsum(1).roll(1)), [x]))(ones([2, 3]))).map((t) => t.op)
  const [a, b] = [made(), made()]
  expect(a.length).toBe(b.length)
  a.forEach((op, i) => expect(op).toBe(b[i]))
})

describe("random numbers", () => {
  const draw = (k: random.Key): Tensor => random.normal(k, [3])
  test("a key for each example gives each what it would get alone", async () => {
    const keys = random.split(random.key(7), 4)
    await expectEqual([vmap(draw)(stack(keys))], [stack(keys.map(draw))], 12)
    const seeds = tensor([3, 1, 4], { dtype: "i32" })
    await expectEqual([vmap((s: Tensor) => random.uniform(random.key(s), [2]))(seeds)], [stack(examples(3).map((i) => random.uniform(random.key(at(seeds, 0, i)), [2])))], 12)
    await expectEqual([vmap((k: Tensor) => random.permutation(k, 5))(stack(keys))], [stack(keys.map((k) => random.permutation(k, 5)))])
  })
  test("one key gives all the same; folded with a number of their own, each its own", async () => {
    const k = random.key(7), x = zeros([4])
    await expectEqual([vmap((v: Tensor) => add(draw(k), v))(x)], [stack(examples(4).map(() => draw(k)))])
    const numbers = tensor([0, 1, 2], { dtype: "i32" })
    await expectEqual([vmap((i: Tensor) => draw(random.foldIn(k, i)))(numbers)], [stack(examples(3).map((i) => draw(random.foldIn(k, i))))], 12)
  })
})
