import { describe, expect, test } from "vitest"
import { arange, attention, cat, compile, embedding, explain, grad, le, matmul, mul, narrow, pad, referenceDevice, reshape, rope, rotation, softmax, sum, tensor, transpose, where, withDevice, zeros, type Tensor } from "../src/index.ts"

const waves = (seed: number, ...shape: number[]): Tensor => {
  const n = shape.reduce((a, b) => a * b, 1)
  return tensor(Float32Array.from({ length: n }, (_, i) => Math.sin(seed + i * 1.37) * 1.5), { shape })
}
const close = async (got: Tensor, want: Tensor, digits = 5): Promise<void> => {
  expect(got.shape).toEqual(want.shape)
  const [g, w] = [await got.data(), await want.data()]
  g.forEach((x, i) => expect(x).toBeCloseTo(w[i]!, digits))
}
const device = { ...referenceDevice(), accepts: () => true }

const q = waves(1, 2, 4, 5, 8), k = waves(2, 2, 2, 5, 8), v = waves(3, 2, 2, 5, 6)

describe("attention", () => {
  test("is softmax(q·kᵀ/√d)·v, key heads shared by neighbouring heads", async () => {
    const out = attention(q, k, v)
    for (const head of [0, 1, 2, 3]) {
      const [one, keys, values] = [narrow(q, 1, head, 1), narrow(k, 1, head >> 1, 1), narrow(v, 1, head >> 1, 1)]
      await close(narrow(out, 1, head, 1), matmul(softmax(mul(matmul(one, transpose(keys)), 1 / Math.sqrt(8))), values))
    }
  })
  test("causal, a bool mask and an additive mask of the same pattern agree", async () => {
    const lower = le(arange(5), reshape(arange(5), [5, 1]))
    await close(attention(q, k, v, { mask: lower }), attention(q, k, v, { causal: true }))
    await close(attention(q, k, v, { mask: where(lower, 0, zeros([5, 5]).add(-Infinity)) }), attention(q, k, v, { causal: true }))
  })
  test("queries of a chunk see what they see in the whole", async () => {
    const whole = attention(q, k, v, { causal: true })
    await close(attention(narrow(q, 2, 3, 2), k, v, { causal: true, qOffset: 3 }), narrow(whole, 2, 3, 2))
  })
  test("a window keeps the last keys", async () => {
    const out = attention(q, k, v, { causal: true, window: 2 })
    await close(narrow(out, 2, 4, 1), attention(narrow(q, 2, 4, 1), narrow(k, 2, 3, 2), narrow(v, 2, 3, 2)))
  })
  test("keys beyond the length do not count", async () => {
    const grown = [k, v].map((t) => pad(t, [[0, 3], [0, 0]], { value: 100 })) as [Tensor, Tensor]
    await close(attention(q, ...grown, { length: tensor(5, { dtype: "i32" }) }), attention(q, k, v))
  })
  test("a decode step at another position needs no new program", async () => {
    const step = compile<[Tensor, Tensor, Tensor, number], Tensor>((one, keys, values, at) => attention(one, keys, values, { causal: true, qOffset: at }))
    const whole = attention(q, k, v, { causal: true })
    for (const at of [1, 4]) await close(await step(narrow(q, 2, at, 1), k, v, at), narrow(whole, 2, at, 1))
    expect(step.programs).toBe(1)
  })
  test("a query that sees no key gives NaN", async () => {
    const out = attention(q, k, v, { length: tensor(0, { dtype: "i32" }) })
    expect((await out.data()).every(Number.isNaN)).toBe(true)
  })
  test("a mask has a gradient: that of the scores, summed where it broadcasts", async () => {
    const bias = waves(4, 4, 1, 5)
    const loss = (b: Tensor): Tensor => sum(mul(attention(q, k, v, { mask: b, causal: true }), waves(5, 2, 4, 5, 6)))
    const [dBias] = grad(loss(bias), [bias])
    const step = 0.01, bump = pad(tensor([[[step]]]), [[1, 2], [0, 0], [2, 2]])
    const slope = ((await loss(bias.add(bump)).item()) - (await loss(bias.sub(bump)).item())) / (2 * step)
    expect((await narrow(reshape(dBias!, [-1]), 0, 7, 1).data())[0]).toBeCloseTo(slope, 2)
  })
  test("is one kernel where a device has its template, with the operands there are", () => {
    const shown = withDevice(device, () => explain(attention(zeros([1, 4, 1, 8]), zeros([1, 2, 9, 8]), zeros([1, 2, 9, 6]), { causal: true, window: 4, qOffset: zeros([], "i32"), length: zeros([], "i32") })))
    expect(shown).toMatch(/^out0 = attention \[1,4,1,6\] \(f32\) <batch=1 heads=4 kvHeads=2 tq=1 tk=9 d=8 dv=6 causal=1 window=4 scale=0.3535\d* qOffset=0> \{ q\[.*k\[.*v\[.*length\[\]: 0 \| qOffset\[\]: 0 \}/)
  })
  test("keeps the products' templates in its gradient", () => {
    const [x, y, z] = [zeros([1, 4, 3, 8]).add(1), zeros([1, 2, 9, 8]).add(1), zeros([1, 2, 9, 6]).add(1)]
    const shown = withDevice(device, () => explain(...grad(sum(attention(x, y, z, { causal: true })), [x, y, z])))
    expect(shown.match(/= matmul/g)).toHaveLength(5)
    expect(shown.match(/= softmax/g)).toHaveLength(1)
  })
})

describe("rope", () => {
  const x = waves(6, 2, 3, 4, 8)
  test("keeps lengths, and scores depend on the distance only", async () => {
    await close(sum(mul(rope(x), rope(x)), { axis: -1 }), sum(mul(x, x), { axis: -1 }), 4)
    const [a, b] = [waves(7, 1, 8), waves(8, 1, 8)]
    const score = (i: number, j: number): Tensor => matmul(rope(a, { offset: i }), transpose(rope(b, { offset: j })))
    await close(score(7, 4), score(23, 20), 4)
  })
  test("the layouts differ by the order of features", async () => {
    const apart = (t: Tensor): Tensor => reshape(transpose(reshape(t, [2, 3, 4, 4, 2])), [2, 3, 4, 8])
    await close(rope(apart(x), { offset: 5 }), apart(rope(x, { offset: 5, layout: "interleaved" })))
  })
  test("shared tables, positions as a tensor, and one offset per sample", async () => {
    await close(rope(x, rotation(4, 8, { offset: 3 })), rope(x, { offset: tensor(3, { dtype: "i32" }) }))
    const each = rope(x, { offset: tensor([[2], [9]], { dtype: "i32" }) })
    await close(each, cat([rope(narrow(x, 0, 0, 1), { offset: 2 }), rope(narrow(x, 0, 1, 1), { offset: 9 })]))
  })
  test("tables for fewer features leave the rest alone; frequencies, scaling and magnitude", async () => {
    const y = rope(x, rotation(4, 4, { offset: 2 }))
    await close(narrow(y, -1, 4, 4), narrow(x, -1, 4, 4))
    await close(narrow(y, -1, 0, 4), rope(narrow(x, -1, 0, 4), { offset: 2 }))
    await close(rope(x, { frequencies: tensor([1, 0.1, 0.01, 0.001]) }), rope(x))
    await close(rope(x, { offset: 8, scaling: 4 }), rope(x, { offset: 8, frequencies: tensor([0.25, 0.025, 0.0025, 0.00025]) }))
    await close(rope(x, { magnitude: 2 }), mul(rope(x), 2))
  })
  test("its gradient turns back", async () => {
    const [dx] = grad(sum(mul(rope(x, { offset: 3 }), rope(x, { offset: 3 }))), [x])
    await close(dx!, mul(x, 2), 4)
  })
})

test("embedding: the padding row gets no gradient, counted from the back if negative", async () => {
  const w = waves(9, 3, 2), ids = tensor([2, 0, 2], { dtype: "i32" })
  const [dw] = grad(sum(embedding(w, ids, { paddingIndex: -1 })), [w])
  expect(await dw!.tolist()).toEqual([[1, 1], [0, 0], [0, 0]])
})
