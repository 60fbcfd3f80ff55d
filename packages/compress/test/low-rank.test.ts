import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { denseWeight, linalg, tensor } from "@thimble/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { createCache, loadModel, saveModel, type Model } from "@thimble/models"
import { open } from "../../kernels/src/index.ts"
import { smallModel } from "../../models/test/random-model.ts"
import { factoredWeight, int, lowRank, lowRankFactors, on, parseRecipe, plan, quantize, rtn, sequencesOf, sliceWidth } from "../src/index.ts"
import { fill } from "../src/laws/values.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))
const folder = await mkdtemp(join(tmpdir(), "thimble-low-rank-"))
afterAll(() => rm(folder, { recursive: true }))

const data = () => sequencesOf(Array.from({ length: 6 }, (_, s) => Array.from({ length: 16 }, (_, i) => (i * 7 + s * 5) % 40)))
const logits = async (model: Model): Promise<Float32Array> => (await model.forward(tensor(Int32Array.from({ length: 12 }, (_, i) => (i * 3) % 40), { shape: [1, 12], dtype: "i32" })).data()) as Float32Array
const apart = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0)
const size = (a: Float32Array): number => a.reduce((m, v) => Math.max(m, Math.abs(v)), 0)

const [rows, columns, tokens] = [10, 14, 40]
const w = Float64Array.from(fill("gaussian", 1, [rows, columns]))
const product = ({ left, right }: { left: Float64Array; right: Float64Array }, rank: number): Float64Array => {
  const out = new Float64Array(rows * columns)
  linalg.multiplyAdd(linalg.rowMajor(out, columns), linalg.rowMajor(left, rank), linalg.rowMajor(right, columns), rows, columns, rank)
  return out
}
/** Inputs of few directions, and their H. */
const inputs = (count = tokens): { x: Float64Array; h: Float64Array } => {
  const x = Float64Array.from(fill("gaussian", 2, [count, columns]), (v, i) => v * (i % columns < 3 ? 10 : 0.5)), h = new Float64Array(columns * columns)
  linalg.multiplyAdd(linalg.rowMajor(h, columns), linalg.viewTransposed(linalg.rowMajor(x, columns)), linalg.rowMajor(x, columns), columns, columns, count)
  return { x, h }
}
const lost = (v: Float64Array, h?: Float64Array): number => {
  let total = 0
  for (let r = 0; r < rows; r++) for (let i = 0; i < columns; i++) for (let j = 0; j < columns; j++) total += (v[r * columns + i]! - w[r * columns + i]!) * (h === undefined ? Number(i === j) : h[i * columns + j]!) * (v[r * columns + j]! - w[r * columns + j]!)
  return total
}

describe("factors", () => {
  test("lose what the singular values that go say", () => {
    const { s } = linalg.svd(w, rows, columns)
    for (const rank of [1, 3, 7, 10]) expect(lost(product(lowRankFactors(w, [rows, columns], rank), rank))).toBeCloseTo(s.slice(rank).reduce((n, v) => n + v * v, 0), 8)
  })
  test("with inputs, lose of the outputs what the singular values of the outputs say: nothing loses less", () => {
    const { x, h } = inputs(), y = new Float64Array(tokens * rows)
    linalg.multiplyAdd(linalg.rowMajor(y, rows), linalg.rowMajor(x, columns), linalg.viewTransposed(linalg.rowMajor(w, columns)), tokens, rows, columns)
    const { s } = linalg.svd(y, tokens, rows)
    for (const rank of [1, 3, 7]) {
      const aware = lost(product(lowRankFactors(w, [rows, columns], rank, h), rank), h)
      expect(aware / s.slice(rank).reduce((n, v) => n + v * v, 0)).toBeCloseTo(1, 6)
      expect(aware).toBeLessThan(lost(product(lowRankFactors(w, [rows, columns], rank), rank), h))
    }
  })
  test("do not mind inputs of few directions, or none", () => {
    const { h } = inputs(4)
    expect(lost(product(lowRankFactors(w, [rows, columns], 4, h), 4), h)).toBeLessThan(1e-8)
    expect(lowRankFactors(w, [rows, columns], 2, new Float64Array(columns * columns)).right.every(Number.isFinite)).toBe(true)
    expect(lowRankFactors(new Float64Array(rows * columns), [rows, columns], 2).left.every((v) => v === 0)).toBe(true)
  })
})

test("a factored weight is its product, whatever its factors are stored in", async () => {
  const f = (seed: number, shape: [number, number]) => denseWeight(tensor(fill("gaussian", seed, shape), { shape })), weight = factoredWeight(f(1, [6, 2]), f(2, [2, 8])), dense = (await weight.dense().data()) as Float32Array
  const x = tensor(fill("gaussian", 3, [5, 8]), { shape: [5, 8] }), ids = tensor(Int32Array.from([4, 0]), { shape: [2], dtype: "i32" })
  expect(apart((await weight.apply(x).data()) as Float32Array, (await denseWeight(tensor(dense, { shape: [6, 8] })).apply(x).data()) as Float32Array)).toBeLessThan(1e-5)
  expect(apart((await weight.rows(ids).data()) as Float32Array, [...dense.slice(32, 40), ...dense.slice(0, 8)])).toBeLessThan(1e-6)
  const again = weight.withParts(weight.parts())
  expect([again.bytes, again.form, Object.keys(again.parts())]).toEqual([112, weight.form, ["left.values", "right.values"]])
  expect(() => factoredWeight(f(1, [6, 2]), f(2, [3, 8]))).toThrow(/do not meet/)
})

describe("a recipe of low ranks", () => {
  test("is the same after it was written down, and stores what was planned", async () => {
    for (const method of [lowRank({ share: 0.6 }), lowRank({ rank: 4, aware: false, format: "bf16" }), lowRank({ rank: 4, format: int(8, { group: 4 }) })]) {
      const recipe = quantize({ default: method, rules: [on("k_proj", rtn(int(8))), on("v_proj", rtn(int(8)))] }), written = JSON.parse(JSON.stringify([recipe])) as unknown
      expect(JSON.parse(JSON.stringify(parseRecipe(written)))).toEqual(written)
      const model = smallModel("llama"), p = plan(model, recipe), { model: small, report } = await p.run(await data()).result
      expect(small.bytes).toBe(p.bytesAfter)
      expect(p.bytesAfter).toBeLessThan(p.bytesBefore)
      expect(small.weights["model.layers.0.mlp.up_proj"]!.form).toMatch(/factored/)
      expect(report.entries.filter((e) => e.method.startsWith("low rank")).every((e) => e.weightError > 0 && e.weightError < 1)).toBe(true)
      expect(apart(await logits(small), await logits(model))).toBeLessThan(2 * size(await logits(model)))
    }
  })
  test("outputs are nearer where they were looked at", async () => {
    const errors: number[] = []
    for (const aware of [false, true]) {
      const method = lowRank({ rank: 4, aware }), asking = aware ? method : { ...method, observes: lowRank({ rank: 4 }).observes! }
      errors.push((await plan(smallModel("llama"), quantize({ rules: [on(/mlp/, asking)] })).run(await data()).result).report.entries.reduce((n, e) => n + e.outputError!, 0))
    }
    expect(errors[1]).toBeLessThan(0.9 * errors[0]!)
  })
  test("goes on from a checkpoint with the same bytes; decodes, and is refused where a file has no room for it", async () => {
    const model = smallModel("llama"), texts = await data(), recipe = quantize({ rules: [on(/mlp/, lowRank({ rank: 3, format: "f16" }))] }), checkpoint = join(folder, "kept")
    const { model: whole } = await plan(model, recipe).run(texts, { checkpoint }).result, job = plan(model, recipe).run(texts, { checkpoint })
    let resumed = 0
    for await (const e of job) if (e.kind === "matrix" && e.resumed) resumed++
    const { model: again } = await job.result
    expect(resumed).toBe(6)
    expect(apart(await logits(again), await logits(whole))).toBe(0)
    expect((await again.generate([3, 9, 1], { maxTokens: 4, stopTokens: [] }).done()).ids).toEqual((await whole.generate([3, 9, 1], { maxTokens: 4, stopTokens: [] }).done()).ids)
    await expect(saveModel(whole, join(folder, "none.gguf"))).rejects.toThrow(/made of others/)
    await saveModel(whole, join(folder, "dense"), { dtype: "f32" })
    expect(apart(await logits(await loadModel(join(folder, "dense"))), await logits(whole))).toBeLessThan(1e-4)
  })
  test("refuses what saves nothing", () => {
    expect(() => plan(smallModel("llama"), quantize({ default: lowRank({ rank: 8 }) }))).toThrow(/no saving/)
    expect(() => lowRank({})).toThrow(/rank or a share/)
  })
})

describe("a narrower stream", () => {
  test.each(["llama", "qwen2", "mistral", "qwen3", "phi3"])("%s: of the size that was planned; with all components, the same logits", async (name) => {
    const model = smallModel(name), before = await logits(model), all = await plan(model, sliceWidth({ share: 0 })).run(await data()).result
    expect(apart(await logits(all.model), before)).toBeLessThan(1e-4 * size(before))
    const p = plan(model, sliceWidth({ share: 0.25, multiple: 2 })), { model: small } = await p.run(await data()).result
    expect([small.config.width, small.size, small.bytes]).toEqual([12, p.parametersAfter, p.bytesAfter])
    const whole = await logits(small)
    expect(apart(whole, before)).toBeGreaterThan(1e-3)
    await saveModel(small, join(folder, name))
    const again = await loadModel(join(folder, name))
    expect(again.config).toEqual(small.config)
    expect(apart(await logits(again), whole)).toBe(0)
    const step = small.step(tensor(Int32Array.from({ length: 12 }, (_, i) => (i * 3) % 40), { shape: [1, 12], dtype: "i32" }), createCache(small, { length: 16 }), { position: 0 })
    expect(apart((await step.logits.data()) as Float32Array, whole)).toBeLessThan(1e-4)
  })
  test("features that are never written to cost nothing", async () => {
    const model = smallModel("llama"), idle: Record<string, ReturnType<typeof denseWeight>> = {}
    // The last four features of the stream stay zero: no row of the embedding and no writer reaches them.
    for (const [path, weight] of Object.entries(model.weights)) {
      const values = (await weight.dense().data()) as Float32Array, [r, c] = weight.shape
      if (path.endsWith("embed_tokens")) idle[path] = denseWeight(tensor(values.map((v, i) => (i % 16 < 12 ? v : 0)), { shape: [r, c] }))
      if (/o_proj|down_proj/.test(path)) idle[path] = denseWeight(tensor(values.map((v, i) => (i < 12 * c ? v : 0)), { shape: [r, c] }))
    }
    const lean = model.with(idle), before = await logits(lean), { model: small } = await plan(lean, sliceWidth({ keep: 12 })).run(await data()).result
    expect(apart(await logits(small), before)).toBeLessThan(1e-4 * size(before))
  })
  test("is refused where norms depend on coordinates, and asks for data", () => {
    expect(() => plan(smallModel("gpt2"), sliceWidth({ keep: 8 }))).toThrow(/subtract the mean/)
    expect(() => plan(smallModel("gemma2"), sliceWidth({ keep: 8 }))).toThrow(/post_attention_layernorm/)
    expect(() => plan(smallModel("llama"), sliceWidth({ keep: 20 }))).toThrow(/20 of 16/)
    expect(() => plan(smallModel("llama"), sliceWidth({ keep: 8 })).run()).toThrow(/principal components/)
    const written = JSON.parse(JSON.stringify([sliceWidth({ share: 0.25, multiple: 2 })])) as unknown
    expect(JSON.parse(JSON.stringify(parseRecipe(written)))).toEqual(written)
  })
})
