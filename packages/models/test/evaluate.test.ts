import { memory, take, tensor, ThimbleError, type Tensor } from "@thimble/core"
import type { Tokenizer } from "@thimble/formats"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { multipleChoice, type ChoiceItem } from "../src/evaluate/choices.ts"
import { difference } from "../src/evaluate/difference.ts"
import { klDivergence } from "../src/evaluate/divergence.ts"
import { evaluate } from "../src/evaluate/evaluate.ts"
import type { Evaluated } from "../src/evaluate/metric.ts"
import { perplexity } from "../src/evaluate/perplexity.ts"
import { cut, type TextOptions } from "../src/evaluate/protocol.ts"
import { meanOfParts, spreadOf } from "../src/evaluate/statistics.ts"

const letters = "^abcd", n = letters.length
/** A token for each letter; ^ begins texts. */
const tokenizer = {
  size: n, bos: 0, special: new Map(), tokenOf: (id: number) => letters[id]!,
  encode: (text: string, { wrap = false } = {}) => [...(wrap ? [0] : []), ...Array.from(text, (c) => letters.indexOf(c))],
} as unknown as Tokenizer

/** Predicts a token from the one before it alone, by a table of logits. */
function bigrams(seed: number, options: Partial<Evaluated["config"]> = {}): Evaluated & { readonly rows: number[][] } {
  const rows = letters.split("").map((_, i) => letters.split("").map((_, j) => Math.sin(seed + 7 * i + 3 * j) * 2))
  const table = tensor(rows)
  return { rows, config: { vocabulary: n, context: 64, ...options }, tokenizer, bytes: table.bytes, forward: (ids: Tensor) => take(table, ids) }
}
const model = bigrams(1), other = bigrams(2)
const logProbability = (rows: number[][], from: number, to: number): number => rows[from]![to]! - Math.log(rows[from]!.reduce((s, v) => s + Math.exp(v), 0))
const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length

const text = fc.string({ unit: fc.constantFrom("a", "b", "c", "d"), minLength: 3, maxLength: 80 })
const options = fc.record({ context: fc.integer({ min: 3, max: 40 }), bos: fc.boolean() })

describe("windows", () => {
  test("score every token once, from what stands before it in its window; only a first token without bos has nothing before it", () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 99 }), { minLength: 2, maxLength: 90 }), fc.integer({ min: 3, max: 20 }), fc.nat(), fc.boolean(), (ids, context, by, begins) => {
      const body = context - (begins ? 1 : 0), stride = 1 + (by % body)
      const seen = new Map<number, number>()
      const windows = cut(Int32Array.from(ids), context, stride, begins ? 100 : null)
      // Where the window of a row stands: windows that score nothing are left out, and only the last can be one.
      windows.forEach(({ inputs, targets, scored }, w) => {
        const start = w * stride, stream = [...(begins ? [100] : []), ...ids.slice(start, start + body)]
        expect(inputs.length).toBe(context - 1)
        let count = 0
        targets.forEach((t, i) => {
          if (t < 0) return
          count++
          expect([...inputs.slice(0, i + 1), t]).toEqual(stream.slice(0, i + 2))
          const at = start + i + 1 - (begins ? 1 : 0)
          seen.set(at, (seen.get(at) ?? 0) + 1)
        })
        expect(count).toBe(scored)
      })
      for (const times of seen.values()) expect(times).toBe(1)
      const unscored = ids.map((_, i) => i).filter((i) => !seen.has(i))
      if (begins) expect(unscored).toEqual([])
      else expect(unscored).toEqual(stride < body ? [0] : ids.map((_, i) => i).filter((i) => i % body === 0))
    }), { numRuns: 300 })
  })
})

describe("perplexity", () => {
  test("is e to the mean of −log p, and says how it was measured", async () => {
    await fc.assert(fc.asyncProperty(text, options, async (t, o) => {
      const ids = tokenizer.encode(t), body = o.context - (o.bos ? 1 : 0)
      const losses = ids.flatMap((id, i) => (i % body === 0 ? (o.bos ? [-logProbability(model.rows, 0, id)] : []) : [-logProbability(model.rows, ids[i - 1]!, id)]))
      const { results: [r] } = await evaluate(model, { metrics: [perplexity(t, o)] })
      expect(r.value).toBeCloseTo(mean(losses), 5)
      expect(r.perplexity).toBeCloseTo(Math.exp(mean(losses)), 4)
      expect(r.protocol).toMatchObject({ tokens: ids.length, scored: losses.length, context: o.context, stride: body, bos: o.bos ? 0 : null })
      expect(r.parts.reduce((s, p) => s + p.count, 0)).toBe(losses.length)
      expect(meanOfParts(r.parts).mean).toBeCloseTo(r.value, 9)
      if (o.bos) expect(r.bitsPerByte).toBeCloseTo(mean(losses) / Math.LN2, 5)
    }), { numRuns: 30 })
  })
  test("of a stride does not depend on the context of a model that looks at one token", async () => {
    const t = "abcdabbacdabcacbdbcadbcabdbacbdabcd"
    const values = await Promise.all([[8, 1], [8, 5], [20, 19], [20, 3]].map(async ([context, stride]) => (await evaluate(model, { metrics: [perplexity(t, { context: context!, stride: stride!, bos: false })] })).results[0]))
    for (const { value, protocol } of values) {
      expect(protocol.scored).toBe(t.length - 1)
      expect(value).toBeCloseTo(values[0]!.value, 5)
    }
  })
  test("texts are hashed; ids and texts, and other vocabularies, are told apart", async () => {
    const measure = async (t: string | number[], m: Evaluated = model): Promise<unknown> => (await evaluate(m, { metrics: [perplexity(t, { bos: true })] })).results[0]!.protocol
    const protocol = await measure("abc")
    expect(protocol).toMatchObject({ text: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", context: 64, stride: 63, bos: 0 })
    expect(await measure("abd")).not.toEqual(protocol)
    expect(await measure([1, 2, 3])).toMatchObject({ tokenizer: null, tokens: 3 })
    const renamed = { ...model, tokenizer: { ...tokenizer, tokenOf: (id: number) => `${id}` } }
    expect(await measure("abc", renamed)).not.toEqual(protocol)
  })
  test("refuses what it cannot measure", async () => {
    const refused = (t: string | number[], o: TextOptions, m: Evaluated = model): Promise<unknown> => evaluate(m, { metrics: [perplexity(t, o)] })
    await expect(refused("", {})).rejects.toThrow("perplexity: cannot take 0 of the text's 0 tokens")
    await expect(refused("a", { bos: false })).rejects.toThrow("a text of 1 tokens leaves nothing to predict")
    await expect(refused("abc", { context: 65 })).rejects.toThrow("the context must be 2 … 64 positions, got 65")
    await expect(refused("abc", { context: 8, stride: 8 })).rejects.toThrow("the stride must be 1 … 7 tokens, got 8")
    await expect(refused("abc", { tokens: 4 })).rejects.toThrow("cannot take 4 of the text's 3 tokens")
    await expect(refused([1, 5], {})).rejects.toThrow("token 5 is outside the vocabulary of 5")
    await expect(refused("abc", {}, bigrams(1, { vocabulary: 4 }))).rejects.toThrow("the tokenizer has 5 tokens, the model knows 4")
    await expect(refused("abc", { bos: true }, { ...model, tokenizer: undefined } as never)).rejects.toThrow("the model has no tokenizer")
    await expect(refused([1, 2], { bos: true }, { config: model.config, bytes: 0, forward: model.forward })).rejects.toThrow("no token is known to begin texts")
    await expect(evaluate(model, { metrics: [] })).rejects.toThrow("evaluate: nothing to measure")
  })
})

describe("KL divergence", () => {
  const longText = "abcdabbacdabcacbdbcadbcabdbacbdabcdacbdabbbacd"
  test("is the mean of Σ p·log(p/q), with its spread, agreement and change of probabilities", async () => {
    const { results: [r] } = await evaluate(other, { reference: model, metrics: [klDivergence(longText, { context: 11 })] })
    const ids = tokenizer.encode(longText), all = Array.from({ length: n }, (_, i) => i)
    const from = ids.map((_, i) => (i % 10 === 0 ? 0 : ids[i - 1]!)), p = (rows: number[][], i: number, j: number): number => Math.exp(logProbability(rows, i, j))
    const kl = from.map((i) => all.reduce((s, j) => s + p(model.rows, i, j) * (logProbability(model.rows, i, j) - logProbability(other.rows, i, j)), 0))
    const top = (rows: number[][], i: number): number => rows[i]!.indexOf(Math.max(...rows[i]!))
    const change = from.map((i, at) => p(other.rows, i, ids[at]!) - p(model.rows, i, ids[at]!))
    expect(r.value).toBeCloseTo(mean(kl), 5)
    expect(r.spread.max).toBeCloseTo(Math.max(...kl), 5)
    expect(r.topAgreement).toBeCloseTo(mean(from.map((i) => Number(top(model.rows, i) === top(other.rows, i)))), 9)
    expect(r.probabilityChange.mean).toBeCloseTo(mean(change), 5)
    expect(r.probabilityChange.rootMeanSquare).toBeCloseTo(Math.sqrt(mean(change.map((d) => d * d))), 5)
    expect(Math.log(r.perplexity / r.referencePerplexity)).toBeCloseTo(r.lossChange.mean, 6)
  })
  test("of a model from itself is zero, with full agreement", async () => {
    const { results: [r] } = await evaluate(model, { reference: model, metrics: [klDivergence(longText)] })
    expect(r).toMatchObject({ topAgreement: 1, topAgreementError: 0, probabilityChange: { mean: 0, rootMeanSquare: 0 }, lossChange: { mean: 0 } })
    expect(Math.abs(r.value)).toBeLessThan(1e-6)
  })
  test("needs a reference of the same vocabulary", async () => {
    await expect(evaluate(model, { metrics: [klDivergence("abc")] })).rejects.toThrow("klDivergence: needs a model to compare with")
    await expect(evaluate(model, { reference: bigrams(1, { vocabulary: 6 }), metrics: [klDivergence("abc")] })).rejects.toThrow("the model knows 5 tokens, the reference 6")
    const renamed = { ...model, tokenizer: { ...tokenizer, tokenOf: (id: number) => `${id}` } }
    await expect(evaluate(model, { reference: renamed, metrics: [klDivergence("abc")] })).rejects.toThrow("the tokenizers of model and reference differ")
  })
})

describe("multiple choice", () => {
  const items: ChoiceItem[] = [
    { question: "ab", choices: ["a", "bcd", "cc"], answer: 1 },
    { question: "c", choices: ["d", "ab"], answer: 0 },
    { question: "abcabcabcabcabcabcabcabcabcabcabcabc", choices: ["d", "ab", "ddd", "cba"], answer: 2 },
  ]
  const likelihood = (question: string, choice: string): number => {
    const ids = tokenizer.encode(question + choice), start = question.length
    return ids.slice(start).reduce((s, id, i) => s + logProbability(model.rows, ids[start + i - 1]!, id), 0)
  }
  test.each(["bytes", "none"] as const)("takes the choice of the greatest log-likelihood (%s)", async (normalize) => {
    const { results: [r] } = await evaluate(model, { metrics: [multipleChoice(items, { normalize })] })
    const all = items.map(({ question, choices }) => choices.map((c) => likelihood(question, c)))
    r.logLikelihoods.forEach((row, i) => row.forEach((v, j) => expect(v).toBeCloseTo(all[i]![j]!, 4)))
    const scores = all.map((row, i) => row.map((v, j) => (normalize === "none" ? v : v / items[i]!.choices[j]!.length)))
    const chosen = scores.map((row) => row.indexOf(Math.max(...row)))
    expect(r.chosen).toEqual(chosen)
    expect(r.value).toBeCloseTo(mean(chosen.map((c, i) => Number(c === items[i]!.answer))), 9)
  })
  test("refuses items without a choice", () => {
    expect(() => multipleChoice([])).toThrow("needs at least one item")
    expect(() => multipleChoice([{ question: "a", choices: ["b"], answer: 0 }])).toThrow("item 0 has 1 choices")
    expect(() => multipleChoice([{ question: "a", choices: ["b", "c"], answer: 2 }])).toThrow("the answer 2 of item 0 is none of its 2 choices")
  })
})

describe("comparing", () => {
  const measure = async (m: Evaluated, o: TextOptions = {}, t = "abcdabbacdabcacbdbcadbcabd") => (await evaluate(m, { metrics: [perplexity(t, { context: 6, ...o })] })).results[0]
  test("subtracts what was measured alike; a model less itself is 0 ± 0", async () => {
    const a = await measure(model), b = await measure(other)
    expect(difference(a, b).value).toBeCloseTo(a.value - b.value, 6)
    expect(difference(b, a).value).toBeCloseTo(b.value - a.value, 6)
    expect(difference(a, a)).toEqual({ metric: "perplexity", value: 0, standardError: 0 })
    expect(difference(a, b)).toEqual(difference(JSON.parse(JSON.stringify(a)) as typeof a, b))
  })
  test("refuses unlike protocols, and names what differs", async () => {
    const a = await measure(model)
    const refused = async (b: ReturnType<typeof measure>): Promise<ThimbleError> => {
      try {
        difference(a, await b)
      } catch (e) {
        return e as ThimbleError
      }
      throw new Error("was not refused")
    }
    expect((await refused(measure(model, { context: 7 }))).message).toBe("difference: results of perplexity by unlike protocols cannot be subtracted: context 6 ≠ 7, stride 5 ≠ 6; measure both the same way")
    expect((await refused(measure(model, { bos: false }))).message).toContain("bos 0 ≠ null")
    expect((await refused(measure(model, {}, "abcdabbacdabcacbdbcadbcabc"))).message).toContain("text ")
    expect(await refused(measure(model, { stride: 2 }))).toBeInstanceOf(ThimbleError)
    const kl = async (reference: Evaluated) => (await evaluate(model, { reference, metrics: [klDivergence("abcdabcbcda")] })).results[0]
    const [k, l] = [await kl(other), await kl(bigrams(3))]
    expect(() => difference(k, l)).toThrow("reference ")
    expect(() => difference(k as never, a)).toThrow("klDivergence and perplexity cannot be subtracted")
  })
})

describe("evaluate", () => {
  test("tells how far it is, metric by metric, and leaves no memory behind", async () => {
    const seen: unknown[] = [], t = "abcdabbacdabcacbdbcadbcabd".repeat(300)
    await evaluate(model, { reference: other, metrics: [perplexity("abc")] })
    const before = memory().bytes
    const { results, tokensPerSecond, peakBytes, bytes } = await evaluate(model, { reference: other, metrics: [perplexity(t, { context: 41 }), klDivergence("abcd")], onProgress: (p) => seen.push(p) })
    expect(memory().bytes).toBe(before)
    expect(results.map((r) => r.metric)).toEqual(["perplexity", "klDivergence"])
    expect(tokensPerSecond).toBeGreaterThan(0)
    expect(bytes).toBe(model.bytes)
    expect(peakBytes).toBeGreaterThan(bytes)
    expect(seen.length).toBeGreaterThan(3)
    expect(seen[0]).toEqual({ metric: "perplexity", done: 2040, total: 7800 })
    expect(seen.at(-2)).toEqual({ metric: "perplexity", done: 7800, total: 7800 })
    expect(seen.at(-1)).toEqual({ metric: "klDivergence", done: 63, total: 63 })
  })
  test("ends with an AbortError, soon", async () => {
    const stop = new AbortController(), t = "abcdabbacdabcacbdbcadbcabd".repeat(300)
    let batches = 0
    const before = memory().bytes
    const running = evaluate(model, { metrics: [perplexity(t, { context: 41 })], signal: stop.signal, onProgress: () => { if (++batches === 2) stop.abort() } })
    await expect(running).rejects.toMatchObject({ name: "AbortError" })
    expect(batches).toBe(2)
    expect(memory().bytes).toBe(before)
    await expect(evaluate(model, { metrics: [perplexity("abc")], signal: stop.signal })).rejects.toMatchObject({ name: "AbortError" })
  })
})

test("percentiles lie between neighbours in proportion", () => {
  expect(spreadOf(Float64Array.from({ length: 101 }, (_, i) => 100 - i))).toEqual({ min: 0, p1: 1, p5: 5, p10: 10, median: 50, p90: 90, p95: 95, p99: 99, p999: expect.closeTo(99.9, 9), max: 100 })
  expect(spreadOf(Float64Array.of(2))).toMatchObject({ min: 2, median: 2, p999: 2, max: 2 })
})
