import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { open } from "../../kernels/src/index.ts"
import { smallModel } from "../../models/test/random-model.ts"
import { allocate, biasCorrected, gptq, int, on, plan, quantize, rtn, sensitivities, sequencesOf, type Sensitivities } from "../src/index.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))

const method = (bits: number): Record<string, unknown> => ({ method: "rtn", format: `int${bits}`, importance: "none" })
const table = (rows: readonly (readonly (readonly [bytes: number, loss: number])[])[]): Sensitivities => ({
  model: "", data: "", measure: "output",
  matrices: rows.map((r, i) => ({ path: `m${i}`, shape: [1, 8] as const, candidates: r.map(([bytes, loss], j) => ({ method: method(j + 2), format: `int${j + 2}`, bytes, loss })) })),
})

describe("allocation", () => {
  test("is the best of all choices that fit, by trying them", () => {
    const candidate = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 50 }))
    fc.assert(fc.property(fc.array(fc.array(candidate, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 5 }), fc.integer({ min: 1, max: 60 }), (rows, bytes) => {
      let best = Infinity
      const go = (i: number, b: number, l: number): void => {
        if (b > bytes) return
        if (i === rows.length) best = Math.min(best, l)
        else for (const [own, loss] of rows[i]!) go(i + 1, b + own, l + loss)
      }
      go(0, 0, 0)
      if (best === Infinity) expect(() => allocate(table(rows), { bytes })).toThrow(/smallest candidates/)
      else {
        const found = allocate(table(rows), { bytes })
        expect(found.loss).toBe(best)
        expect(found.bytes).toBeLessThanOrEqual(bytes)
        expect(found.rules.map((r) => r.pattern)).toEqual(rows.map((_, i) => `m${i}`))
      }
    }), { numRuns: 300 })
  })
  test("a greedy choice is worse: it takes the steepest step first, and cannot pay for the other two", () => {
    const rows = [[[1, 10], [4, 0]], [[1, 9], [3, 1]], [[1, 9], [3, 1]]] as const
    expect(allocate(table(rows), { bytes: 7 }).loss).toBe(12)
  })
  test("counts bits by element", () => expect(allocate(table([[[2, 5], [4, 1]], [[2, 5], [4, 2]]]), { bitsPerWeight: 3 }).loss).toBe(6))
})

describe("sensitivities", () => {
  const data = () => sequencesOf([Array.from({ length: 10 }, (_, i) => (i * 7) % 40), Array.from({ length: 10 }, (_, i) => (i * 11 + 3) % 40)])
  test.each(["divergence", "output", "fisher"] as const)("%s: fewer bits cost more, and the table makes a recipe", async (measure) => {
    const model = smallModel("llama"), found = JSON.parse(JSON.stringify(await sensitivities(model, await data(), { candidates: [rtn(int(2, { group: 8 })), rtn(int(4, { group: 8 })), gptq({ format: int(8, { group: 8 }) })], measure }))) as Sensitivities
    expect(found.matrices).toHaveLength(14)
    for (const { candidates } of found.matrices) {
      expect(candidates.map((c) => c.format)).toEqual(["int2g8", "int4g8", "int8g8"])
      expect(candidates[0]!.loss).toBeGreaterThan(candidates[2]!.loss)
      expect(candidates[2]!.loss).toBeGreaterThan(0)
    }
    const { rules, bytes } = allocate(found, { bitsPerWeight: 7 })
    const { report } = await plan(model, quantize({ rules })).run(await data()).result
    expect(report.entries.reduce((n, e) => n + e.bytesAfter, 0)).toBe(bytes)
  })
  test("fisher: the loss rises by about half the sum, for a change along each weight", async () => {
    // Of one matrix that is moved by a hair, by the definition: mean square of the gradient, times the square of the change.
    const model = smallModel("gpt2"), hair = rtn(int(8))
    const { matrices } = await sensitivities(model, await data(), { candidates: [hair], measure: "fisher", matrices: /c_attn/ })
    expect(matrices.map((m) => m.path)).toEqual(["transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn"])
    for (const m of matrices) expect(m.candidates[0]!.loss).toBeGreaterThan(0)
  })
  test("refuses what changes other matrices, too, and patterns that find none", async () => {
    await expect(sensitivities(smallModel("llama"), await data(), { candidates: [rtn(int(4))], matrices: "nothing" })).rejects.toThrow(/nothing finds no matrix/)
  })
})

test("a bias makes up for the mean error; where there is none the report says so", async () => {
  const data = await sequencesOf(Array.from({ length: 6 }, (_, s) => Array.from({ length: 12 }, (_, i) => (i * 7 + s * 5) % 40)))
  const run = async (name: string) => (await plan(smallModel(name), quantize({ rules: [on(/c_fc|up_proj/, biasCorrected(rtn(int(2))))] })).run(data).result)
  const { model, report } = await run("gpt2"), before = smallModel("gpt2")
  expect(report.entries.every((e) => e.fallbacks.length === 0)).toBe(true)
  const path = "transformer.h.0.mlp.c_fc", old = (await before.vectors[`${path}.bias`]!.data()) as Float32Array, now = (await model.vectors[`${path}.bias`]!.data()) as Float32Array
  expect(old.some((v, i) => v !== now[i])).toBe(true)
  const { report: bare } = await run("llama")
  expect(bare.entries.map((e) => e.fallbacks.map((f) => f.kind))).toEqual([["no bias"], ["no bias"]])
})
