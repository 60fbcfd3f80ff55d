import { attention, avgPool2d, batchNorm, cat, conv2d, maxPool2d, gelu, permute, realize, relu, reshape, roll, softmax, tensor, type Tensor } from "@thimble/core"
import type { Model } from "@thimble/models"
import { beforeAll, describe, expect, test } from "vitest"
import { open } from "../../kernels/src/index.ts"
import { small, smallEncoders, smallModel } from "../../models/test/random-model.ts"
import { coupledMagnitudes, keepCoupled, maskCoupled, traceCouplings, type Coupling } from "../src/index.ts"
import { fill } from "../src/laws/values.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))
const f = (seed: number, ...shape: number[]): Tensor => tensor(fill("gaussian", seed, [shape[0]!, shape[1] ?? 1]), { shape })
const ids = (): Tensor => tensor(Int32Array.from([3, 9, 1, 30, 22, 7]), { shape: [1, 6] })

/** A coupling in words that do not depend on order. */
const said = ({ count, axes }: Pick<Coupling, "count" | "axes">): string => `${count}: ${axes.map((a) => `${a.weight} ${a.axis} ${a.places.map((p) => p.join("+")).join(" ")}`).sort().join("; ")}`

/** What a model's links say of its channels, biases included. */
function linked(model: Model): string[] {
  return model.blocks().flatMap(({ links }) => links.channels.map(({ count, rows, columns }) => {
    const axes = new Map<string, { weight: string; axis: number; places: number[][] }>()
    for (const [parts, axis] of [[rows, 0], [columns, 1]] as const)
      for (const { path, size, rows: runs } of parts) {
        const all = (runs ?? [[0, model.weights[path]!.shape[axis]]]).flatMap(([begin, end]) => Array.from({ length: end - begin }, (_, i) => begin + i))
        for (const weight of [`${path}.weight`, ...(axis === 0 && model.vectors[`${path}.bias`] ? [`${path}.bias`] : [])]) {
          const own = axes.get(weight) ?? axes.set(weight, { weight, axis, places: Array.from({ length: count }, () => []) }).get(weight)!
          all.forEach((place, i) => own.places[Math.floor(i / size)]!.push(place))
        }
      }
    for (const a of axes.values()) for (const p of a.places) p.sort((x, y) => x - y)
    return said({ count, axes: [...axes.values()] })
  })).sort()
}

describe.each([...Object.keys(small), ...Object.keys(smallEncoders)])("%s", (name) => {
  test("what its graph says is what its links say", async () => {
    const model = smallModel(name)
    await realize(...Object.values(model.parts()))
    const found = traceCouplings((x) => model.forward(x), [ids()], model.parts())
    expect(found.filter((c) => !c.whole).map(said).sort()).toEqual(linked(model))
    // What encoders transform their stream with is read by the embedding, and so is a part of it on both sides.
    const twice = Object.keys(model.weights).filter((path) => /transform(\.dense)?$/.test(path)).length
    // The stream: what is written to it and read from it, from the embedding on, has norms over all of it.
    const stream = found.filter((c) => c.whole)
    expect(stream.map((c) => c.count)).toEqual([16])
    const { weights } = model, embedding = Object.keys(weights)[0]!
    expect(stream[0]!.axes.map((a) => `${a.weight} ${a.axis}`)).toContain(`${embedding}.weight 1`)
    expect(stream[0]!.axes).toHaveLength(Object.values(weights).length + Object.values(model.vectors).filter((v) => v.shape[0] === 16).length + twice - notOfTheStream(model))
  })
})
/** Vectors as long as the stream is wide, and yet beside it: biases of queries, keys and values. */
const notOfTheStream = (model: Model): number => Object.entries(model.vectors).filter(([name, v]) => v.shape[0] === 16 && /\.(q_proj|k_proj|v_proj|query|key|value|q_lin|k_lin|v_lin)\.bias$/.test(name)).length

describe("functions of one's own", () => {
  test("layers side by side that are joined, and one that is added", () => {
    const w = { a: f(1, 3, 4), b: f(2, 5, 4), c: f(3, 6, 8), d: f(4, 6, 4), e: f(5, 2, 6), bias: f(6, 3).reshape([3]) }
    const found = traceCouplings((x) => relu(cat([x.linear(w.a).add(w.bias), gelu(x.linear(w.b))], -1).linear(w.c).add(x.linear(w.d))).linear(w.e), [f(9, 7, 4)], w).map(said).sort()
    expect(found).toEqual([
      "3: a 0 0 1 2; bias 0 0 1 2; c 1 0 1 2",
      "5: b 0 0 1 2 3 4; c 1 3 4 5 6 7",
      "6: c 0 0 1 2 3 4 5; d 0 0 1 2 3 4 5; e 1 0 1 2 3 4 5",
    ].sort())
  })
  test("grouped heads, one matrix for queries, keys and values, and a tied matrix", () => {
    const table = f(1, 10, 8), qkv = f(2, 16, 8), out = f(3, 8, 8), w = { table, qkv, out, again: table }
    const heads = (x: Tensor, from: number, count: number): Tensor => permute(reshape(x.narrow(-1, from, count * 2), [1, 5, count, 2]), [0, 2, 1, 3])
    const fn = (ids: Tensor): Tensor => {
      const x = table.take(ids, 0), y = x.linear(qkv), seen = attention(heads(y, 0, 4), heads(y, 8, 2), heads(y, 12, 2), { causal: true })
      return softmax(x.add(reshape(permute(seen, [0, 2, 1, 3]), [1, 5, 8]).linear(out)).linear(table))
    }
    const found = traceCouplings(fn, [tensor(Int32Array.from([1, 2, 3, 4, 5]), { shape: [1, 5] })], w)
    expect(found.map(said).sort()).toEqual([
      "2: out 1 0+1+2+3 4+5+6+7; qkv 0 0+1+2+3+8+9+12+13 4+5+6+7+10+11+14+15",
      "8: out 0 0 1 2 3 4 5 6 7; qkv 1 0 1 2 3 4 5 6 7; table 1 0 1 2 3 4 5 6 7",
    ])
  })
  test("what is not followed stays", () => {
    const w = { a: f(1, 4, 3), b: f(2, 5, 4), c: f(3, 2, 5) }
    expect(traceCouplings((x) => roll(relu(x.linear(w.a)).linear(w.b), 1, -1).linear(w.c), [f(9, 7, 3)], w).map(said)).toEqual(["4: a 0 0 1 2 3; b 1 0 1 2 3"])
    const scale = tensor(Float32Array.from([1, 2, 3, 4]))
    expect(traceCouplings((x) => relu(x.linear(w.a)).mul(scale).linear(w.b).linear(w.c), [f(9, 7, 3)], w).map(said)).toEqual(["5: b 0 0 1 2 3 4; c 1 0 1 2 3 4"])
    expect(() => traceCouplings(() => [], [], w)).toThrow(/no tensors/)
  })
})

describe("a convolutional network", () => {
  const net = () => ({
    first: f(1, 6, 9).reshape([6, 1, 3, 3]), scale: f(2, 6).reshape([6]), shift: f(3, 6).reshape([6]), mean: f(4, 6).reshape([6]), variance: f(5, 6).reshape([6]).square().add(0.5),
    depth: f(6, 6, 9).reshape([6, 1, 3, 3]), second: f(7, 4, 54).reshape([4, 6, 3, 3]), bias: f(8, 4).reshape([4]), last: f(9, 3, 36),
  })
  const run = (w: ReturnType<typeof net>, x: Tensor): Tensor => {
    const normed = batchNorm(conv2d(x, w.first), w.mean, w.variance, w.scale, w.shift).output
    const deep = conv2d(maxPool2d(relu(normed), 2).values, w.depth, undefined, { groups: w.depth.shape[0]!, padding: 1 })
    const seen = avgPool2d(relu(conv2d(deep, w.second, w.bias, { padding: 1 })), 2)
    return reshape(seen, [x.shape[0]!, -1]).linear(w.last)
  }
  const images = (): Tensor => f(11, 2, 196).reshape([2, 1, 14, 14])
  test("channels go with their norm, their filters, and the columns that read their pixels", async () => {
    const w = net(), found = traceCouplings((x) => run(w, x), [images()], w)
    expect(found.map(({ count, axes, whole }) => [count, whole, axes.map((a) => `${a.weight} ${a.axis} ${a.places[0]!.length}`).sort()])).toEqual([
      [6, false, ["depth 0 1", "first 0 1", "mean 0 1", "scale 0 1", "second 1 1", "shift 0 1", "variance 0 1"]],
      [4, false, ["bias 0 1", "last 1 9", "second 0 1"]],
    ])
  })
  test("left out is as multiplied with zeros", async () => {
    const w = net(), [wide, deep] = traceCouplings((x) => run(w, x), [images()], w)
    const best = async (c: Coupling, keep: number): Promise<number[]> => {
      const sizes = await coupledMagnitudes(w, c)
      return [...sizes.keys()].sort((a, b) => sizes[b]! - sizes[a]!).slice(0, keep)
    }
    const [a, b] = [await best(wide!, 3), await best(deep!, 2)]
    const small = await keepCoupled(await keepCoupled(w, wide!, a), deep!, b), masked = await maskCoupled(await maskCoupled(w, wide!, a), deep!, b)
    expect([small.first.shape, small.depth.shape, small.second.shape, small.last.shape]).toEqual([[3, 1, 3, 3], [3, 1, 3, 3], [2, 3, 3, 3], [3, 18]])
    const [own, same, all] = [await run(small, images()).data(), await run(masked, images()).data(), await run(w, images()).data()] as [Float32Array, Float32Array, Float32Array]
    const apart = (x: Float32Array, y: Float32Array): number => x.reduce((m, v, i) => Math.max(m, Math.abs(v - y[i]!)), 0), size = apart(all, all.map(() => 0))
    expect(apart(own, same) / size).toBeLessThan(1e-6)
    expect(apart(own, all) / size).toBeGreaterThan(1e-2)
  })
})
