import { crossEntropy, denseWeight, tensor } from "@thimble/core"
import type { Model } from "@thimble/models"
import { beforeAll, describe, expect, test } from "vitest"
import { open } from "../../kernels/src/index.ts"
import { smallModel } from "../../models/test/random-model.ts"
import { activity, biasCorrected, bitmask, block, blocks, columns, compareSpeed, csr, erk, fisher, globally, int, keepOf, magnitude, nOfM, owl, parseRecipe, plan, prune, pruned, quantize, randomScore, rows, rtn, sequencesOf, sparsegpt, taylor, unstructured, wanda, type Method, type PrunedOptions, type Score, type SparsityPattern } from "../src/index.ts"
import { gradientsOf } from "../src/recipe/gradients.ts"
import { matrixOf } from "../src/recipe/method.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))
const data = () => sequencesOf(Array.from({ length: 4 }, (_, s) => Array.from({ length: 12 }, (_, i) => (i * 7 + s * 5) % 40)))
const run = async (model: Model, method: Method) => plan(model, prune({ default: method, sequence: "blocks" })).run(await data()).result
const values = async (model: Model, path: string): Promise<Float32Array> => (await matrixOf(path, model.weights[path]!)).values
const zerosOf = (v: Float32Array): number => v.reduce((n, w) => n + Number(w === 0), 0)

const scores: readonly Score[] = [magnitude(), magnitude("l2"), randomScore(3), wanda(), activity({ threshold: 0.1 }), taylor(), taylor({ order: "second" }), fisher()]
const patterns: readonly SparsityPattern[] = [unstructured(0.5), unstructured(0.5, { within: "row" }), keepOf(2, 4), keepOf(4, 8), block([4, 4], 0.5), rows(0.5), columns(0.5)]

describe("any score with any pattern", () => {
  for (const score of scores)
    test(`${score.name}: half goes, the rest stays bit for bit, and the recipe can be written down`, async () => {
      const model = smallModel("llama")
      for (const pattern of patterns) {
        const recipe = prune({ default: pruned({ score, pattern }), sequence: "blocks" }), written = JSON.parse(JSON.stringify([recipe])) as unknown
        expect(JSON.parse(JSON.stringify(parseRecipe(written)))).toEqual(written)
        const { model: small, report } = await run(model, pruned({ score, pattern }))
        for (const path of ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"]) {
          const before = await values(model, path), after = await values(small, path)
          after.forEach((v, i) => v !== 0 && expect(v).toBe(before[i]))
          expect(zerosOf(after), pattern.name).toBe(before.length / 2)
        }
        expect(report.entries.every((e) => e.zeros === 0.5)).toBe(true)
        expect(String(report)).toContain("no saving")
      }
    })
})

describe("stores", () => {
  const cases: readonly (readonly [PrunedOptions["pattern"], NonNullable<PrunedOptions["store"]>])[] = [
    [unstructured(0.8), csr()], [unstructured(0.8), bitmask({ values: "f16" })], [unstructured(0.5), "f16"], [keepOf(2, 4), nOfM(2, 4)], [keepOf(1, 4), nOfM(1, 4, { values: "int8" })], [block([4, 4], 0.75), blocks([4, 4])], [keepOf(2, 4), int(8)],
  ]
  test.each(cases.map(([pattern, store]) => [pattern.name, typeof store === "string" ? store : store.name, pattern, store] as const))("%s in %s: what was planned is what is stored, and the model computes with it", async (_p, _s, pattern, store) => {
    const model = smallModel("llama"), method = pruned({ score: magnitude(), pattern, store }), stage = prune({ default: method }), p = plan(model, stage), { model: small, report } = await p.run().result
    expect(p.bytesAfter).toBe(small.bytes)
    expect(report.bytesAfter).toBe(small.bytes)
    expect(small.bytes).toBeLessThan(model.bytes)
    const dense = (await plan(model, prune({ default: pruned({ score: magnitude(), pattern }) })).run().result).model, ids = tensor(Int32Array.of(1, 2, 3, 5, 8), { shape: [1, 5] })
    const a = (await small.forward(ids).data()) as Float32Array, b = (await dense.forward(ids).data()) as Float32Array, size = Math.max(...b.map(Math.abs))
    a.forEach((v, i) => expect(Math.abs(v - b[i]!)).toBeLessThan((/int8/.test(small.weights["model.layers.0.mlp.up_proj"]!.form) ? 0.05 : 2e-3) * size))
    const written = JSON.parse(JSON.stringify([stage])) as unknown
    expect(JSON.parse(JSON.stringify(parseRecipe(written)))).toEqual(written)
  })
  test("rows that N:M does not fit are refused at once", () => {
    expect(() => plan(smallModel("llama", { intermediate_size: 18 }), prune({ default: pruned({ score: magnitude(), pattern: keepOf(2, 4), store: nOfM(2, 4) }) }))).toThrow(/down_proj.*multiples of 4/)
  })
  test("a plan says where nothing is saved", () => expect(String(plan(smallModel("llama"), prune({ default: pruned({ score: magnitude(), pattern: unstructured(0.1), store: csr() }) })))).toContain("no saving"))
})

describe("shares that are divided", () => {
  test.each([["global", globally()], ["erk", erk()], ["owl", owl()]])("%s: half of all goes, not of each", async (_n, spread) => {
    const model = smallModel("llama"), method = pruned({ score: wanda(), pattern: unstructured(0.5), spread }), { model: small, report } = await run(model, method)
    let gone = 0, all = 0
    for (const { path } of report.entries) {
      const v = await values(small, path)
      gone += zerosOf(v)
      all += v.length
    }
    expect(Math.abs(gone / all - 0.5)).toBeLessThan(0.01)
    expect(new Set(report.entries.map((e) => e.zeros)).size).toBeGreaterThan(1)
    const written = JSON.parse(JSON.stringify([prune({ default: method })])) as unknown
    expect(JSON.parse(JSON.stringify(parseRecipe(written)))).toEqual(written)
  })
  test("a method around one that looks first looks first, too", async () => {
    const { report } = await run(smallModel("gpt2"), biasCorrected(pruned({ score: magnitude(), pattern: unstructured(0.5), spread: globally() })))
    expect(new Set(report.entries.map((e) => e.zeros)).size).toBeGreaterThan(1)
  })
  test("there is no share to divide in N:M", () => expect(() => pruned({ score: magnitude(), pattern: keepOf(2, 4), spread: erk() })).toThrow(/no share/))
})

test("gradients are those of the loss", async () => {
  const model = smallModel("llama"), texts = await data(), path = "model.layers.0.mlp.up_proj", { mean } = (await gradientsOf(model, texts, [path])).get(path)!
  const w = await values(model, path), lossAt = async (i: number, by: number): Promise<number> => {
    const changed = model.with({ [path]: denseWeight(tensor(w.map((v, j) => (i === j ? v + by : v)), { shape: [...model.weights[path]!.shape] })) })
    let total = 0
    for (const s of texts.sequences) {
      const n = s.length - 1, logits = changed.forward(tensor(s, { shape: [1, s.length] })).narrow(1, 0, n).reshape([n, -1])
      total += Number((await crossEntropy(logits, tensor(s.slice(1))).data())[0])
    }
    return total / texts.sequences.length
  }
  const i = mean.reduce((best, g, j) => (Math.abs(g) > Math.abs(mean[best]!) ? j : best), 0)
  expect(((await lossAt(i, 0.02)) - (await lossAt(i, -0.02))) / 0.04 / mean[i]!).toBeCloseTo(1, 1)
})

describe("SparseGPT in a recipe", () => {
  const loss = async (method: Method): Promise<number> => (await run(smallModel("llama"), method)).report.entries.reduce((n, e) => n + e.outputError!, 0)
  /** Asks for gram, so that all are measured alike. */
  const seen = (method: Method): Method => ({ ...sparsegpt({ sparsity: 0.5 }), round: method.round, observes: [...sparsegpt({ sparsity: 0.5 }).observes!, ...(method.observes ?? [])] })
  test.each([[0.5, unstructured(0.5, { within: "row" })], [{ keep: 2, of: 4 }, keepOf(2, 4)]] as const)("%s: loses less of the outputs than Wanda, and that less than magnitude", async (sparsity, pattern) => {
    const solved = await loss(sparsegpt({ sparsity })), w = await loss(seen(pruned({ score: wanda(), pattern }))), m = await loss(seen(pruned({ score: magnitude(), pattern })))
    expect(solved).toBeLessThan(0.9 * w)
    expect(w).toBeLessThan(m)
  })
  test("rounded in the same pass, or stored without its zeros, or in the order of activity", async () => {
    const model = smallModel("llama")
    for (const method of [sparsegpt({ sparsity: 0.5, round: int(4, { group: 8 }), block: 8 }), sparsegpt({ sparsity: { keep: 2, of: 4 }, store: nOfM(2, 4) }), sparsegpt({ sparsity: 0.7, order: "activity", store: csr() })]) {
      const stage = prune({ default: method, sequence: "blocks" }), p = plan(model, stage), { model: small, report } = await p.run(await data()).result
      expect(p.bytesAfter).toBe(small.bytes)
      expect(report.entries.every((e) => e.zeros! >= 0.5)).toBe(true)
      const written = JSON.parse(JSON.stringify([stage])) as unknown
      expect(JSON.parse(JSON.stringify(parseRecipe(written)))).toEqual(written)
    }
  })
  test("pruning, then rounding: both are in the report", async () => {
    const { report } = await plan(smallModel("llama"), [prune({ default: pruned({ score: magnitude(), pattern: keepOf(2, 4) }) }), quantize({ default: rtn(int(8)) })]).run().result
    expect(report.entries.map((e) => e.method)).toEqual(expect.arrayContaining(["pruned 2:4 by magnitude l1", "rtn"]))
  })
})

test("products are timed before and after, matrix by matrix", async () => {
  const model = smallModel("llama"), { model: small } = await plan(model, prune({ default: pruned({ score: magnitude(), pattern: unstructured(0.9), store: csr() }) })).run().result
  const times = await compareSpeed(model, small, { samples: 3 })
  expect(times).toHaveLength(14)
  expect(times.every((t) => t.before > 0 && t.after > 0)).toBe(true)
  expect(String(times)).toMatch(/up_proj +csr f32/)
})
