import { attention, cat, gelu, permute, realize, relu, reshape, roll, softmax, tensor, type Tensor } from "@thimble/core"
import type { Model } from "@thimble/models"
import { beforeAll, describe, expect, test } from "vitest"
import { open } from "../../kernels/src/index.ts"
import { small, smallEncoders, smallModel } from "../../models/test/random-model.ts"
import { traceCouplings, type Coupling } from "../src/index.ts"
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
