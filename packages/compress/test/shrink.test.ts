import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { crossEntropy, denseWeight, memory, realize, tensor } from "@thimble/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { blockShapes, keepBlocks, loadModel, maskChannels, saveModel, type KeptByLayer, type Model } from "@thimble/models"
import { open } from "../../kernels/src/index.ts"
import { smallModel } from "../../models/test/random-model.ts"
import { angularDistances, blockInfluence, channelGradients, dropBlocks, int, parseRecipe, plan, pruneChannels, pruneHeads, quantize, reconstructColumns, rtn, sequencesOf, shrink, type ChannelScore, type ShrinkOptions } from "../src/index.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))
const folder = await mkdtemp(join(tmpdir(), "thimble-shrink-"))
afterAll(() => rm(folder, { recursive: true }))

const data = () => sequencesOf(Array.from({ length: 5 }, (_, s) => Array.from({ length: 12 }, (_, i) => (i * 7 + s * 11) % 40)))
const logits = async (model: Model): Promise<Float32Array> => (await model.forward(tensor(Int32Array.from({ length: 12 }, (_, i) => (i * 3) % 40), { shape: [1, 12], dtype: "i32" })).data()) as Float32Array
const apart = (a: Float32Array, b: Float32Array): number => a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0)
const distance = (a: Float32Array, b: Float32Array): number => a.reduce((m, v, i) => m + (v - b[i]!) ** 2, 0)
const bytes = async (model: Model): Promise<string> => {
  const all: string[] = []
  for (const [name, t] of Object.entries(model.parts())) all.push(`${name} ${Buffer.from((await t.raw()).buffer.slice(0)).toString("base64")}`)
  return all.join("\n")
}
const scores: readonly ChannelScore[] = ["magnitude", "wanda", "outputs", "taylor", "fisher"]

/** Which channels stayed, found again by the rows that are left. */
async function keptOf(before: Model, after: Model): Promise<KeptByLayer> {
  const kept: Record<number, { heads: number[]; hidden: number[] }> = {}
  for (const [layer, { links }] of before.blocks().entries()) {
    const own: Record<string, number[]> = {}
    for (const { name, count, columns } of links.channels) {
      const { path, size } = columns[0]!, [was, is] = [(await before.weights[path]!.dense().data()) as Float32Array, (await after.weights[path]!.dense().data()) as Float32Array]
      const [width, left] = [before.weights[path]!.shape[1], after.weights[path]!.shape[1]], found: number[] = []
      for (let c = 0, at = 0; c < count && at < left; c++) if (was[c * size] === is[at] && was[width + c * size] === is[left + at]) { found.push(c); at += size }
      own[name] = found
    }
    kept[layer] = own as never
  }
  return kept
}

describe.each(["llama", "qwen2", "gpt2", "phi3", "gemma2", "mistral", "gpt_neox", "phi", "qwen3"])("%s", (name) => {
  test.each(scores)("shrunk by %s is masked, of the size that was planned", async (score) => {
    const model = smallModel(name), p = plan(model, shrink({ heads: 0.5, channels: 0.25, score })), { model: small, report } = await p.run(p.needs === undefined ? undefined : await data()).result
    expect(apart(await logits(small), await logits(await maskChannels(model, await keptOf(model, small))))).toBeLessThan(1e-5)
    expect(apart(await logits(small), await logits(model))).toBeGreaterThan(1e-3)
    expect([small.size, small.bytes]).toEqual([p.parametersAfter, p.bytesAfter])
    expect([model.size, model.bytes]).toEqual([p.parametersBefore, p.bytesBefore])
    expect(report.entries.map((e) => e.path).sort()).toEqual(p.stages[0]!.entries.map((e) => e.path).sort())
    expect(report.entries.every((e) => e.weightError > 0 && e.weightError < 1)).toBe(true)
    for (const [i, { heads, kvHeads, hidden }] of blockShapes(model.config).entries()) expect(small.config.shapes?.[i] ?? small.config).toMatchObject({ heads: heads / 2, kvHeads: kvHeads / 2, hidden: hidden - Math.floor(hidden / 4) })
    const { ids: made } = await small.generate([3, 9, 1], { maxTokens: 3, stopTokens: [] }).done()
    expect(made).toHaveLength(3)
  })
  test("blocks of their own shapes are saved and loaded", async () => {
    const model = smallModel(name), { model: small } = await plan(model, shrink({ channels: { keep: 8 }, rules: [{ layers: [1], heads: 0.5 }], score: "magnitude" })).run().result
    expect(small.config.shapes).toHaveLength(2)
    await saveModel(small, join(folder, name))
    const again = await loadModel(join(folder, name))
    expect(again.config).toEqual(small.config)
    expect(apart(await logits(again), await logits(small))).toBe(0)
  })
})

describe("scores", () => {
  test("channels that do nothing go first, whatever the score", async () => {
    const model = smallModel("llama"), gone = [2, 3, 7, 11, 20, 23], path = "model.layers.0.mlp.down_proj", values = (await model.weights[path]!.dense().data()) as Float32Array
    const idle = model.with({ [path]: denseWeight(tensor(values.map((v, i) => (gone.includes(i % 24) ? 0 : v)), { shape: [16, 24] })) })
    for (const score of ["outputs", "taylor", "fisher"] as const) {
      const { model: small } = await plan(idle, shrink({ rules: [{ layers: [0], channels: { keep: 18 } }], score })).run(await data()).result
      expect(apart(await logits(small), await logits(idle)), score).toBeLessThan(1e-5)
    }
  })
  test("the first order of the loss is the difference that a small step makes", async () => {
    const model = smallModel("llama"), one = await sequencesOf([[1, 8, 15, 22, 29, 36, 3, 10]]), found = (await channelGradients(model, one)).get(1)!.get("hidden")!
    const path = "model.layers.1.mlp.down_proj", values = (await model.weights[path]!.dense().data()) as Float32Array, x = tensor(one.sequences[0]!, { shape: [1, 8], dtype: "i32" })
    const loss = async (channel: number, factor: number): Promise<number> => {
      const changed = model.with({ [path]: denseWeight(tensor(values.map((v, i) => (i % 24 === channel ? v * factor : v)), { shape: [16, 24] })) })
      return Number((await crossEntropy(changed.forward(x).narrow(1, 0, 7).reshape([7, 40]), x.narrow(1, 1, 7).reshape([7]), { reduction: "sum" }).data())[0])
    }
    for (const channel of [0, 5, 17]) {
      const slope = ((await loss(channel, 1.05)) - (await loss(channel, 0.95))) / 0.1
      expect(found.taylor[channel]).toBeCloseTo(Math.abs(slope), 2)
      expect(found.fisher[channel]).toBeCloseTo(found.taylor[channel]! ** 2, 4)
    }
  })
  test("what is fitted is nearer to the outputs than what is cut", async () => {
    const model = smallModel("llama"), options: ShrinkOptions = { channels: 0.5, heads: 0.5, score: "outputs" }, lost: number[] = []
    for (const reconstruct of [false, true]) {
      const { report } = await plan(model, shrink({ ...options, reconstruct })).run(await data()).result
      lost.push(report.entries.filter((e) => /down_proj|o_proj/.test(e.path)).reduce((n, e) => n + e.outputError!, 0))
    }
    expect(lost[1]).toBeLessThan(0.9 * lost[0]!)
  })
  test("a column that is the sum of two others is made up for", () => {
    // x₂ = x₀ + x₁ for all inputs: H says so.
    const x = [[1, 2, 3], [2, -1, 1], [0, 1, 1], [3, 1, 4]], h = new Float64Array(9)
    for (const row of x) for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) h[3 * i + j]! += row[i]! * row[j]!
    const w = reconstructColumns(Float64Array.from([1, 2, 5, 0, 0, -1]), [2, 3], h, [0, 1], { damping: 1e-9 })
    Float64Array.from([6, 7, -1, -1]).forEach((v, i) => expect(w[i]).toBeCloseTo(v, 6))
  })
})

describe("a recipe", () => {
  test("is the same after it was written down", () => {
    const recipe = [dropBlocks({ layers: [1] }), shrink({ heads: { keep: 1 }, channels: 0.25, rules: [{ layers: [0, 1, 2], channels: 0.5 }], score: "wanda", combine: "max", multiple: 4, reconstruct: true }), dropBlocks({ count: 1, score: "angle" })], written = JSON.parse(JSON.stringify(recipe)) as unknown
    expect(JSON.parse(JSON.stringify(parseRecipe(written)))).toEqual(written)
    const model = smallModel("llama", { num_hidden_layers: 4 })
    expect(JSON.stringify(plan(model, parseRecipe(written)))).toBe(JSON.stringify(plan(model, recipe)))
  })
  test("shrinks, then quantizes what is left; the other order is refused", async () => {
    const model = smallModel("llama"), p = plan(model, [shrink({ channels: 0.34, multiple: 8 }), quantize({ default: rtn(int(4, { group: 8 })) })]), { model: small } = await p.run(await data()).result
    expect(small.config.hidden).toBe(16)
    expect([small.bytes, small.size]).toEqual([p.bytesAfter, p.parametersAfter])
    expect(() => plan(model, [quantize({ default: rtn(int(4, { group: 8 })) }), shrink({ channels: 0.5 })])).toThrow(/stored as int4g8[^]*leave out channels first/)
  })
  test("refuses what cannot stay", () => {
    const model = smallModel("llama")
    expect(() => plan(model, pruneHeads({ keep: 3 }))).toThrow(/block 0 has 2 heads of keys and values, 3 cannot stay.*block 1/)
    expect(() => plan(model, shrink({ rules: [{ layers: [2], channels: 0.5 }] }))).toThrow(/block 2/)
    expect(() => pruneChannels(1)).toThrow(/share from 0/)
    expect(() => shrink({})).toThrow(/nothing is to go/)
    expect(() => plan(model, pruneChannels(0.5)).run()).toThrow(/outputs looks at the model at work/)
    expect(() => plan(model, dropBlocks({ count: 2 }))).toThrow(/2 of 2/)
    expect(() => plan(model, [shrink({ rules: [{ layers: [0], channels: 0.5 }] }), dropBlocks({ count: 1 })])).toThrow(/several shapes/)
  })
  test("gives the same bytes whether it is run at once, or ended and gone on with", async () => {
    const model = smallModel("gpt2"), texts = await data(), recipe = shrink({ heads: 0.5, channels: 0.25, reconstruct: true })
    const whole = await bytes((await plan(model, recipe).run(texts).result).model), checkpoint = join(folder, "stopped"), control = new AbortController()
    await expect((async () => {
      for await (const e of plan(model, recipe).run(texts, { checkpoint, signal: control.signal })) if (e.kind === "matrix" && e.done === 4) control.abort()
    })()).rejects.toThrow(/abort/i)
    const job = plan(model, recipe).run(texts, { checkpoint })
    let resumed = 0
    for await (const e of job) if (e.kind === "matrix" && e.resumed) resumed++
    expect(resumed).toBe(4)
    expect((await bytes((await job.result).model)) === whole).toBe(true)
  })
  test("leaves the model it starts from alone, and no tensors beside the result's", async () => {
    for (const recipe of [shrink({ heads: 0.5, channels: 0.25, reconstruct: true, score: "wanda" }), shrink({ channels: 0.5, score: "taylor" }), dropBlocks({ count: 1 }), dropBlocks({ count: 1, score: "angle" })]) {
      const model = smallModel("llama")
      await realize(...Object.values(model.parts()))
      const before = await logits(model), held = memory().devices.wasm!.tensors
      const { model: small } = await plan(model, recipe).run(await data()).result, after = memory().devices.wasm!.tensors
      expect(apart(await logits(model), before)).toBe(0)
      const own = new Set(Object.values(small.parts())), shared = Object.values(model.parts()).filter((t) => own.has(t)).length
      expect(after - held).toBe(own.size - shared)
    }
  })
})

describe("blocks", () => {
  const deep = () => smallModel("llama", { num_hidden_layers: 5 })
  test("one that changes nothing has no influence, and goes first", async () => {
    const model = deep(), idle = model.with(Object.fromEntries(["self_attn.o_proj", "mlp.down_proj"].map((m) => [`model.layers.2.${m}`, denseWeight(tensor(new Float32Array(16 * (m === "mlp.down_proj" ? 24 : 16)), { shape: [16, m === "mlp.down_proj" ? 24 : 16] }))])))
    const influence = await blockInfluence(idle, await data())
    expect(Math.abs(influence[2]!)).toBeLessThan(1e-6)
    expect(influence.filter((_, i) => i !== 2).every((v) => v > 1e-3)).toBe(true)
    for (const score of ["influence", "angle"] as const) {
      const p = plan(idle, dropBlocks({ count: 1, score })), { model: small, report } = await p.run(await data()).result
      expect(apart(await logits(small), await logits(idle))).toBeLessThan(1e-5)
      expect([small.size, small.bytes]).toEqual([p.parametersAfter, p.bytesAfter])
      expect(report.entries.map((e) => e.path).every((path) => path.startsWith("model.layers.2."))).toBe(true)
    }
  })
  test("angles are those of the stream, run by run", async () => {
    const model = deep(), texts = await sequencesOf([[1, 8, 15, 22]]), x = tensor(texts.sequences[0]!, { shape: [1, 4], dtype: "i32" }), blocks = model.blocks()
    const row = async (n: number): Promise<Float32Array> => ((await blocks.slice(0, n).reduce((s, b) => b.forward(s), model.embed(x)).data()) as Float32Array).subarray(48)
    const found = await angularDistances(model, texts, 2)
    expect(found).toHaveLength(4)
    for (let first = 0; first < 4; first++) {
      const [a, b] = [await row(first), await row(first + 2)], dot = (u: Float32Array, v: Float32Array): number => u.reduce((n, w, i) => n + w * v[i]!, 0)
      expect(found[first]).toBeCloseTo(Math.acos(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))) / Math.PI, 5)
    }
  })
  test("that are named go, of any model, also one that was quantized or has windows", async () => {
    const model = smallModel("gemma2", { num_hidden_layers: 4 }), p = plan(model, [quantize({ default: rtn(int(8)) }), dropBlocks({ layers: [1, 2] })]), { model: small } = await p.run().result
    expect([small.size, small.bytes]).toEqual([p.parametersAfter, p.bytesAfter])
    expect(small.config.windows).toEqual([5, 0])
    const { model: whole } = await plan(model, quantize({ default: rtn(int(8)) })).run().result
    expect(distance(await logits(small), await logits(keepBlocks(whole, [0, 3])))).toBe(0)
  })
})
