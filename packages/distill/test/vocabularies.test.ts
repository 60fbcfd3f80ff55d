// Teachers of another vocabulary, and the policy gradient.
import { adamW, grad, logSoftmax, softmax, tensor, type Tensor } from "@thimble/core"
import type { Tokenizer } from "@thimble/formats"
import { open } from "@thimble/kernels"
import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { distill, forwardKL, policyGradient, readings, sharedTokens, sharedVocabulary, textSpans, tokenEnds, universal, windows, type Readings } from "../src/index.ts"
import { llama, text as counted } from "./small.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})

/** A tokenizer of runs of letters: the longest known one is a token; the last one begins texts. */
function letters(...pieces: string[]): Tokenizer {
  const names = [...pieces, "<s>"], known = [...pieces].sort((a, b) => b.length - a.length)
  return {
    size: names.length, bos: names.length - 1, special: new Map([["<s>", names.length - 1]]),
    encode(t) {
      const ids: number[] = []
      for (let i = 0; i < t.length;) {
        const piece = known.find((p) => t.startsWith(p, i))!
        ids.push(names.indexOf(piece))
        i += piece.length
      }
      return ids
    },
    decode: (ids) => Array.from(ids, (id) => names[id]).join(""),
    stream: () => ({ push: (id) => names[id]!, end: () => "" }),
    idOf: (name) => (names.includes(name) ? names.indexOf(name) : undefined), tokenOf: (id) => names[id]!,
    chat: () => Promise.reject(new Error("no chat")),
  }
}
const [own, other] = [letters("a", "b", "c", "ab", "abc"), letters("c", "b", "a", "bc", "ca")]
const written = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 24 })

describe("spans", () => {
  test("cover both readings, are of one text each, and as short as they can be", () => {
    fc.assert(fc.property(written, (t) => {
      const [a, b] = [own.encode(t), other.encode(t)], [ends, otherEnds] = [tokenEnds(own, a), tokenEnds(other, b)], spans = textSpans(ends, otherEnds)
      expect(spans.map((s) => own.decode(a.slice(...s.student))).join("")).toBe(t)
      expect(spans.flatMap((s) => a.slice(...s.student))).toEqual(a)
      expect(spans.flatMap((s) => b.slice(...s.teacher))).toEqual(b)
      for (const s of spans) {
        expect(other.decode(b.slice(...s.teacher))).toBe(own.decode(a.slice(...s.student)))
        const inside = (e: number[], [from, to]: readonly [number, number]): number[] => e.slice(from, to - 1)
        expect(inside(ends, s.student).filter((e) => inside(otherEnds, s.teacher).includes(e))).toEqual([])
      }
    }))
  })
  test("tokenizers that decode to different texts are refused, but where tokens are paired by their number", async () => {
    const loud: Tokenizer = { ...other, encode: (t) => other.encode(t.replaceAll("c", "a")) }, how = { student: own, teacher: loud, batch: 2, length: 6, characters: 5 }
    await expect(async () => readings("ababcabab".repeat(3), how).batch(0)).rejects.toThrow(/readings: from character \d+ on, a piece of the text decodes to "c\w*" of the student's tokens, and to "a\w*" of the teacher's/)
    expect((await readings("ababcabab".repeat(3), { ...how, spans: "order" }).batch(0)).readings).toBeDefined()
    expect((await readings("abab".repeat(5), how).batch(0)).readings).toBeDefined()
  })
  test("a token that ends within a character ends no span", () => {
    // Bytes of a character: nothing is certain before the last.
    expect(textSpans([1, 1, 1, 2], [1, 2])).toEqual([{ student: [0, 1], teacher: [0, 1] }, { student: [1, 4], teacher: [1, 2] }])
  })
})

describe("losses between vocabularies", () => {
  const logits = (n: number, classes: number): fc.Arbitrary<number[][]> => fc.array(fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: classes, maxLength: classes }), { minLength: n, maxLength: n })
  const f64 = (x: readonly (readonly number[])[]): Tensor => tensor(Float64Array.from(x.flat()), { shape: [1, x.length, x[0]!.length] })
  const ids = (x: readonly number[], shape: readonly number[]): Tensor => tensor(Int32Array.from(x), { shape })
  /** Every position is a span. */
  const each = (n: number): Readings => ({
    inputs: ids(Array(n).fill(0), [1, n]), labels: ids(Array(n).fill(0), [1, n]), first: ids(Array.from({ length: n }, (_, i) => i), [n]), teacherFirst: ids(Array.from({ length: n }, (_, i) => i), [n]), counts: tensor(new Float32Array(n).fill(1), { shape: [n] }),
    rest: ids(Array(n).fill(n), [1, n]), teacherRest: ids(Array(n).fill(n), [1, n]),
  })
  const view = (s: number[][], t: number[][]) => ({ student: { logits: f64(s) }, teacher: { logits: f64(t) }, labels: ids(Array(s.length).fill(0), [1, s.length]), readings: each(s.length) })

  test("universal: 0 of the same probabilities in any order and with tokens that are never said, at most 2, and symmetric", async () => {
    await fc.assert(fc.asyncProperty(logits(3, 6), logits(3, 6), async (s, t) => {
      const shuffled = s.map((row) => [...row.slice(2), -80, ...row.slice(0, 2), -90])
      expect(await universal().compute(view(s, shuffled)).item()).toBeLessThan(1e-12)
      const d = await universal().compute(view(s, t)).item() as number
      expect(d).toBeLessThanOrEqual(2)
      expect(await universal().compute(view(t, s)).item()).toBeCloseTo(d, 12)
    }), { numRuns: 10 })
  })
  test("sharedVocabulary: with all tokens shared it is the KL divergence, whatever their numbers; else ≥ 0", async () => {
    await fc.assert(fc.asyncProperty(logits(2, 5), logits(2, 5), async (s, t) => {
      const order = [3, 0, 4, 1, 2], moved = t.map((row) => order.map((i) => row[i]!)), all = order.map((i, at) => [i, at] as const)
      const d = await sharedVocabulary({ shared: all }).compute(view(s, moved)).item() as number
      expect(d).toBeCloseTo(await forwardKL().compute({ student: { logits: f64(s) }, teacher: { logits: f64(t) } }).item() as number, 8)
      expect(await sharedVocabulary({ shared: [[0, 1], [2, 4]] }).compute(view(s, moved)).item()).toBeGreaterThanOrEqual(0)
    }), { numRuns: 10 })
  })
  test("tokens of one name are shared", () => {
    expect(sharedTokens(own, other)).toEqual([[0, 2], [1, 1], [2, 0], [5, 5]])
    expect(() => sharedVocabulary({ shared: [] })).toThrow("share no token")
    expect(() => sharedVocabulary({ shared: [[0, 1], [1, 1]] })).toThrow("a token stands for two")
  })
  test("a student of another vocabulary learns from a teacher; without both readings that is refused", async () => {
    const teacher = llama(2, { vocab_size: 6 }), student = llama(1, { vocab_size: 6 }), data = readings("abccabbcacabcbaabcabc".repeat(8), { student: own, teacher: other, batch: 4, length: 8, characters: 14 })
    const how = { teacher: { ...teacher, tokenizer: other }, student: { ...student, tokenizer: own }, optimizer: adamW({ rate: 0.03 }), clip: 1 }
    for (const loss of [universal(), sharedVocabulary({ shared: sharedTokens(own, other) })]) {
      const { history: { losses } } = await distill({ ...how, loss: loss, data, steps: 150 }).finish()
      expect(losses.slice(-5).reduce((a, b) => a + b)).toBeLessThan(0.8 * losses.slice(0, 5).reduce((a, b) => a + b))
    }
    await expect(distill({ ...how, loss: universal(), data: windows(counted.map((i) => i % 6), { batch: 2, length: 8 }), steps: 1 }).finish()).rejects.toThrow("needs a text as both models read it")
    expect(() => distill({ ...how, loss: forwardKL(), data, steps: 1 })).toThrow("vocabularies differ")
  })
})

test("policyGradient: with sums of rewards its mean over all texts is the gradient of the KL divergence of whole texts", async () => {
  // Two tokens of three classes; the second's logits depend on the first: nine texts, all of them written out.
  const numbers = (n: number, seed: number): Float64Array => Float64Array.from({ length: n }, (_, i) => Math.sin(seed + 1.7 * i) * 1.3)
  const [s, t] = [tensor(numbers(12, 1), { shape: [4, 3] }), tensor(numbers(12, 5), { shape: [4, 3] })]
  const texts = [0, 1, 2].flatMap((a) => [0, 1, 2].map((b) => [a, b] as const))
  const q = (await logSoftmax(s).tolist()) as number[][]
  const rows = (x: Tensor, a: number): Tensor => x.take(tensor(Int32Array.of(0, 1 + a), { shape: [2] }), 0).reshape([1, 2, 3])
  const mean = (await Promise.all(texts.map(async ([a, b]) => {
    const loss = policyGradient({ returns: "sum" }).compute({ student: { logits: rows(s, a) }, teacher: { logits: rows(t, a) }, labels: tensor(Int32Array.of(a, b), { shape: [1, 2] }) })
    // The loss is the mean of two positions.
    return [...(await grad(loss.mul(2 * Math.exp(q[0]![a]! + q[1 + a]![b]!)), [s])[0]!.data())]
  }))).reduce((x, y) => x.map((v, i) => v + y[i]!))
  const [logQ, logP] = [logSoftmax(s), logSoftmax(t)], first = logQ.take(tensor(Int32Array.of(0), { shape: [1] }), 0), kl = softmax(s).mul(logQ.sub(logP)).sum({ axis: -1 })
  const whole = kl.narrow(0, 0, 1).sum().add(first.exp().reshape([3]).mul(kl.narrow(0, 1, 3)).sum())
  const exact = await grad(whole, [s])[0]!.data()
  mean.forEach((v, i) => expect(v).toBeCloseTo(exact[i]!, 10))
  expect(Math.max(...exact.map(Math.abs))).toBeGreaterThan(0.01)
})
