import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { meanSquares, type Imatrix } from "@thimble/formats"
import { readConfig } from "@thimble/models"
import { biasCorrection, columnStatistics, importancesOf, imatrixOf, int, type ColumnStatistics } from "../src/index.ts"
import { fill, shuffled } from "../src/laws/values.ts"
import { small } from "../../models/test/random-model.ts"

const columns = 6
const after = (...batches: readonly Float32Array[]): ColumnStatistics => {
  const s = columnStatistics(columns)
  for (const b of batches) s.add(b, b.length / columns)
  return s
}

describe("laws of statistics of columns", () => {
  test("neither the order of tokens nor where batches are cut matters, and all tokens are counted", () => fc.assert(fc.property(fc.integer(), fc.integer({ min: 1, max: 40 }), fc.nat(), (seed, tokens, at) => {
    const x = fill("heavy", seed, [tokens, columns]), turn = shuffled(tokens, seed), mixed = x.map((_, i) => x[turn[Math.floor(i / columns)]! * columns + (i % columns)]!), cut = (at % (tokens + 1)) * columns
    const whole = after(x), parts = after(mixed.subarray(0, cut), mixed.subarray(cut))
    expect(parts.tokens).toBe(tokens)
    for (const of of ["means", "meanSquares"] as const) whole[of]().forEach((v, i) => expect(Math.abs(parts[of]()[i]! - v)).toBeLessThanOrEqual(1e-12 * Math.sqrt(whole.meanSquares()[i]! * Math.max(1, whole.meanSquares()[i]!))))
  }), { numRuns: 40 }))
  test("a file has the means that were summed", () => {
    const s = after(fill("gaussian", 1, [50, columns]))
    meanSquares(s.entry()).forEach((v, i) => expect(v).toBeCloseTo(s.meanSquares()[i]!, 6))
  })
  test("a batch that overflowed is refused", () => expect(() => columnStatistics(2).add(Float32Array.of(1, 2, Infinity, 4), 2)).toThrow("columnStatistics: input 0 of token 1 is Infinity"))
})

describe("names", () => {
  test.each(Object.keys(small))("%s: importances go out by the names of GGUF files, and come back", (architecture) => {
    const config = readConfig(small[architecture]!), paths = ({ phi: ["self_attn.q_proj", "mlp.fc2"], phi3: ["self_attn.qkv_proj", "mlp.gate_up_proj"], gpt2: ["attn.c_attn", "mlp.c_proj"], gpt_neox: ["attention.dense", "mlp.dense_h_to_4h"] } as Record<string, string[]>)[architecture] ?? ["self_attn.o_proj", "mlp.down_proj"]
    const prefix = architecture === "gpt2" ? "transformer.h.1" : architecture === "gpt_neox" ? "gpt_neox.layers.1" : "model.layers.1"
    const statistics = new Map(paths.map((p): [string, ColumnStatistics] => {
      const width = { "mlp.down_proj": config.hidden, "mlp.fc2": config.hidden, "mlp.c_proj": config.hidden, "self_attn.o_proj": config.heads * config.headSize }[p] ?? config.width, s = columnStatistics(width)
      s.add(fill("gaussian", 3, [20, width]), 20)
      return [`${prefix}.${p}`, s]
    }))
    const m = imatrixOf(config, statistics, { datasets: ["text"], chunks: 1, chunkSize: 20 })
    for (const name of m.entries.keys()) expect(name).toMatch(/^blk\.1\.(attn|ffn)_[a-z_]+\.weight$/)
    const back = importancesOf(config, m)
    expect([...back.keys()].sort()).toEqual([...statistics.keys()].sort())
    for (const [path, values] of back) expect(values).toEqual(meanSquares(statistics.get(path)!.entry()))
  })
  test("what belongs to another model is refused", () => {
    const config = readConfig(small.llama!), m: Imatrix = { entries: new Map([["blk.0.attn_q.weight", { squares: Float32Array.of(1), counts: [1] }]]), datasets: [], chunks: 1, chunkSize: 1 }
    expect(() => importancesOf(config, m)).toThrow("importancesOf: 'blk.0.attn_q.weight' has 1 importances, but 'model.layers.0.self_attn.q_proj' 16 columns; is it of another model?")
    expect(() => imatrixOf(config, new Map([["model.layers.9.up", columnStatistics(1)]]), m)).toThrow("imatrixOf: llama has no matrix 'model.layers.9.up'")
  })
})

describe("bias correction", () => {
  test("the mean of every output is what it was, and the mean squared change is no more", () => fc.assert(fc.property(fc.integer(), (seed) => {
    const shape = [4, columns] as const, w = fill("gaussian", seed, shape), x = fill("gaussian", seed + 1, [30, columns]).map((v) => v + 1), q = int(2), back = q.decode(q.encode(w, shape), shape)
    const bias = biasCorrection(w, back, shape, after(x).means())
    for (let r = 0; r < 4; r++) {
      let mean = 0, with_ = 0, without = 0
      for (let t = 0; t < 30; t++) {
        let change = 0
        for (let c = 0; c < columns; c++) change += (back[r * columns + c]! - w[r * columns + c]!) * x[t * columns + c]!
        mean += (change + bias[r]!) / 30
        with_ += (change + bias[r]!) ** 2
        without += change ** 2
      }
      expect(Math.abs(mean)).toBeLessThan(1e-12)
      expect(with_).toBeLessThanOrEqual(without * (1 + 1e-12))
    }
  }), { numRuns: 40 }))
  test("inputs without a mean, and weights that did not change, correct nothing", () => {
    const w = fill("gaussian", 1, [3, columns])
    expect(biasCorrection(w, w.map((v) => v + 1), [3, columns], new Float64Array(columns))).toEqual(new Float64Array(3).map(() => -0 + 0))
    expect(biasCorrection(w, w, [3, columns], new Float64Array(columns).fill(2))).toEqual(new Float64Array(3))
  })
  test("sizes are checked", () => expect(() => biasCorrection(new Float32Array(4), new Float32Array(4), [2, 2], new Float32Array(3))).toThrow("biasCorrection: 3 mean inputs for 2 columns"))
})
