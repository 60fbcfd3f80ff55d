import { readFile } from "node:fs/promises"
import { tensorsOf, type Device } from "@thimble/core"
import { open } from "@thimble/kernels"
import { evaluate, loadModel, perplexity, type Model } from "@thimble/models"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { joined, ofSource, prose, sources } from "../train/text.ts"
import { learnTokenizer } from "../train/tokenizer.ts"

const folder = new URL("../../models/demo/", import.meta.url)
const text = (name: string): Promise<string> => readFile(new URL(name, folder), "utf8")
let device: Device, model: Model
beforeAll(async () => {
  device = await open("wasm", { threads: 1 })
  model = await loadModel(folder)
})
afterAll(async () => {
  for (const t of tensorsOf(model)) t.dispose()
  await device.close()
})

describe("the shipped model", () => {
  test("has rows that every block type fits, and takes less than 6 MB", () => {
    for (const { shape, storage } of Object.values(model.weights)) expect([shape[1] % 256, storage]).toEqual([0, "bf16"])
    expect(model.bytes).toBeLessThan(6e6)
    expect(model.size).toBeGreaterThan(1e6)
  })
  test("has the tokenizer that its training text gives", async () => {
    const { training } = await prose()
    const { tokenizer, config } = learnTokenizer(training.map((d) => d.text), model.config.vocabulary)
    expect(JSON.parse(await text("tokenizer.json"))).toEqual(JSON.parse(JSON.stringify(tokenizer)))
    expect(JSON.parse(await text("tokenizer_config.json"))).toEqual(config)
  })
  test("scores what its card says", async () => {
    const [, stated] = /\| Moby Dick \| \d+ \| [\d,]+ \| ([\d.]+) \|/.exec(await text("README.md"))!
    const heldOut = ofSource((await prose()).heldOut, sources[0].title)
    const { results: [{ perplexity: found, protocol }] } = await evaluate(model, { metrics: [perplexity(joined(heldOut))] })
    expect(protocol).toMatchObject({ context: 256, stride: 255, bos: model.tokenizer!.bos })
    expect(found).toBeCloseTo(Number(stated), 2)
  })
  test("writes words", async () => {
    const { text } = await model.generate("The whale", { maxTokens: 30 }).done()
    expect(text).toMatch(/^[\p{L}\p{P}\s]+$/u)
    expect(text.split(/\s+/).length).toBeGreaterThan(10)
  })
})
