import { existsSync, readFileSync } from "node:fs"
import { memory } from "@thimble/core"
import { open } from "@thimble/kernels"
import { beforeAll, expect, test } from "vitest"
import { evaluate, klDivergence, loadModel, perplexity, type Model } from "../src/index.ts"

const folder = new URL("../../formats/fixtures/stories260K/", import.meta.url), own = new URL("../fixtures/stories260K/", import.meta.url)
// The text is too large to be kept here.
const sample = new URL("../../../../shared/data/text/tinystories-sample.txt", import.meta.url)
let model: Model
beforeAll(async () => {
  await open("wasm")
  model = await loadModel(new URL("stories260K.bin", folder), { tokenizer: new URL("tok512.model", folder) })
})

test("stories260K tells the story of its readme, piece by piece, and again without another program", async () => {
  const told = await model.generate("", { maxTokens: 256 }).done()
  expect(told.text).toBe(readFileSync(new URL("greedy.txt", own), "utf8"))
  const before = memory().bytes
  let text = ""
  for await (const piece of model.generate("", { maxTokens: 256 })) text += piece
  expect([text, memory().bytes]).toEqual([told.text, before])
})
test("and goes on with a text, space included", async () => {
  expect((await model.generate("Once upon a time, there was", { maxTokens: 40, stop: "." }).done()).text).toBe(" a little girl named Lily")
})

/** Of an independent pass in float64, for blocks of BOS and 511 or 255 tokens. */
const measured = [{ tokens: 40369, context: 512, perplexity: 6.2849 }, { tokens: 40035, context: 256, perplexity: 6.5347 }]
test.skipIf(!existsSync(sample)).for(measured)("perplexity of stories with a context of $context (skipped where shared/data is not there)", async ({ tokens, context, perplexity: expected }) => {
  const { results: [r] } = await evaluate(model, { metrics: [perplexity(readFileSync(sample, "utf8"), { tokens, context })] })
  expect(r.protocol).toMatchObject({ tokens, scored: tokens, context, stride: context - 1, bos: 1 })
  expect(Math.abs(r.perplexity - expected)).toBeLessThan(0.001)
})
test("perplexity of its own story is low, and it diverges from itself by nothing", async () => {
  const { results: [p, kl], bytes } = await evaluate(model, { reference: model, metrics: [perplexity(readFileSync(new URL("greedy.txt", own), "utf8")), klDivergence(readFileSync(new URL("greedy.txt", own), "utf8"))] })
  expect(bytes).toBe(model.bytes)
  expect(p.perplexity).toBeGreaterThan(1)
  expect(p.perplexity).toBeLessThan(2.5)
  expect(Math.abs(kl.value)).toBeLessThan(1e-6)
  expect(kl.topAgreement).toBe(1)
})
