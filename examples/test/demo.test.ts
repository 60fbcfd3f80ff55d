import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { memory, random, tensor, tensorsOf, useDevice, type Device } from "@thimble/core"
import { open } from "@thimble/kernels"
import { loadModel, type Model } from "@thimble/models"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { compare, type Saved } from "../demo/compare.ts"
import { mobyDick, split, type Corpus } from "../demo/data.ts"
import { compress } from "../demo/measure.ts"
import { schemes } from "../demo/schemes.ts"
import { table } from "../demo/table.ts"
import { trainAndCompare, type TrainedOptions } from "../demo/trained.ts"
import { exportModel } from "../train/export.ts"
import { train } from "../train/loop.ts"
import { initialize } from "../train/model.ts"
import { learnTokenizer } from "../train/tokenizer.ts"

const config = { vocabulary: 256, width: 32, layers: 2, heads: 4, kvHeads: 2, hidden: 64, context: 32 }
const protocol = { context: 32, stride: 16, tokens: 272 }
let folder: string, corpus: Corpus, device: Device
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "thimble-"))
  corpus = split("part of Moby Dick", (await mobyDick()).training.subarray(0, 50_000))
  device = await open("wasm", { threads: 1 })
})
afterAll(async () => {
  await device.close()
  await rm(folder, { recursive: true })
})

/** All of a row that must not depend on the machine. */
const exact = ({ tokensPerSecond: _, ...row }: Saved): Omit<Saved, "tokensPerSecond"> => row

describe("the demo", () => {
  /** A model whose rows are long enough for the K types, with random weights. */
  async function random256(): Promise<Model> {
    const shape = { vocabulary: 276, width: 256, layers: 3, heads: 2, kvHeads: 1, hidden: 256, context: 32 }
    const parameters = await initialize(shape, random.key(1))
    const sample = "The whale saw the other whale; the other whales saw the ships. It's 1851, and they'll sail the seven seas—over and over.\nThe end."
    await exportModel(join(folder, "model"), parameters, shape, 275, learnTokenizer([sample], 276))
    for (const t of tensorsOf(parameters)) t.dispose()
    return loadModel(join(folder, "model"))
  }
  test("compresses a model in every way, and writes files that are the models it measured", async () => {
    const model = await random256(), some = schemes.filter((s) => ["Q8_0", "Q4_K_M", "Q4_0", "int8"].includes(s.name))
    const before = memory().tensors, names: string[] = []
    const rows = await compare(model, { schemes: some, name: "BF16", file: "gguf", out: join(folder, "files"), text: "The whale saw the ships, and the ships saw the whale.".repeat(3), protocol: {}, prompt: "The end", count: 6, onStart: (name) => names.push(name) })
    expect(memory().tensors).toBe(before)
    expect(rows.map((r) => r.name)).toEqual(["BF16", "Q8_0", "Q4_K_M", "Q4_0", "int8"])
    expect(names).toEqual(rows.map((r) => r.name))
    const of = new Map(rows.map((r) => [r.name, r]))
    // Beside the format's own bits there are norms.
    for (const [name, bits] of Object.entries({ BF16: 16, Q8_0: 8.5, Q4_0: 4.5, int8: 8 })) {
      expect(of.get(name)!.bits).toBeGreaterThanOrEqual(bits)
      expect(of.get(name)!.bits).toBeLessThan(bits + 0.2)
    }
    expect(of.get("Q4_K_M")!.bits).toBeGreaterThan(4.6)
    expect(of.get("Q4_K_M")!.bits).toBeLessThan(5.3)
    const divergences = ["BF16", "Q8_0", "Q4_K_M", "Q4_0"].map((name) => of.get(name)!.divergence)
    expect(divergences[0]).toBe(0)
    expect(divergences).toEqual([...divergences].sort((a, b) => a - b))
    expect(of.get("BF16")!.agreement).toBe(1)

    using ids = tensor(Int32Array.of(1, 2, 3, 4), { shape: [1, 4] })
    const logits = async (m: Model): Promise<unknown> => {
      using made = m.forward(ids)
      return await made.data()
    }
    for (const scheme of some.filter((s) => s.name === "Q4_K_M")) {
      const made = await compress(model, scheme), read = await loadModel(of.get(scheme.name)!.file, { activations: "int8" })
      expect(await logits(read)).toEqual(await logits(made))
      for (const t of tensorsOf(read)) t.dispose()
      const kept = new Set(tensorsOf(model))
      for (const t of tensorsOf(made)) if (!kept.has(t)) t.dispose()
    }
    const ends = await readFile(of.get("int8")!.file)
    expect(ends.length).toBeGreaterThan(of.get("int8")!.bytes)
    for (const t of tensorsOf(model)) t.dispose()
  })
})

const options = (more: Partial<TrainedOptions> = {}): TrainedOptions =>
  ({ config, corpus, protocol, seed: 7, steps: 30, batch: 4, warmup: 5, rate: 0.01, prompt: "the ", count: 20, out: join(folder, "out"), ...more })

describe("the demo that trains", () => {
  test("ends where it is interrupted, measures what it has, and gives the same again on two threads", async () => {
    const losses: number[] = []
    const interrupt = new AbortController()
    const before = memory().tensors
    const one = await trainAndCompare(options({ signal: interrupt.signal, onStep: ({ step, loss }) => (losses.push(loss), step === 24 && interrupt.abort()) }))
    expect(memory().tensors - before).toBe(tensorsOf(one.trained.parameters).length)
    expect([one.trained.step, one.trained.steps, one.trained.programs]).toEqual([24, 30, 1])
    const files = await Promise.all(one.rows.map((r) => readFile(r.file)))

    const second = await open("wasm", { threads: 2 })
    const two = await trainAndCompare(options({ stop: 24 }))
    expect(table(two.rows, false)).toBe(table(one.rows, false))
    expect(two.rows.map(exact)).toEqual(one.rows.map(exact))
    for (const [i, r] of two.rows.entries()) expect(Buffer.compare(await readFile(r.file), files[i]!)).toBe(0)
    for (const t of tensorsOf([one.trained.parameters, two.trained.parameters])) t.dispose()
    await second.close()
    useDevice(device)

    expect(losses[0]).toBeGreaterThan(5.3)
    expect(losses.at(-1)).toBeLessThan(3.7)
    const [f32, int8, int4] = one.rows as [Saved, Saved, Saved]
    expect([f32.name, int8.name, int4.name]).toEqual(["f32", "int8", "int4g32"])
    expect(f32.divergence).toBe(0)
    expect(int8.divergence).toBeGreaterThan(0)
    expect(int4.divergence).toBeGreaterThan(int8.divergence)
    expect(f32.protocol.scored).toBe(271)
    expect([f32.bits, int8.bits > 8 && int8.bits < 9, int4.bits > 4.5 && int4.bits < 5]).toEqual([32, true, true])
    expect(table(one.rows)).toContain("tokens/s")
  })
})

describe("training", () => {
  test("hears of an interruption that comes as an event", async () => {
    const { parameters, step } = await train({ ...options(), text: corpus.training, steps: 100_000, signal: AbortSignal.timeout(500) })
    expect(step).toBeLessThan(100_000)
    for (const t of tensorsOf(parameters)) t.dispose()
  })

  test("fits the steps to the seconds, the same as that many steps", async () => {
    const some = { ...options(), text: corpus.training }
    const { steps: _, ...unlimited } = some
    const timed = await train({ ...unlimited, seconds: 0.5 })
    expect(timed.step).toBe(timed.steps)
    expect(timed.steps).toBeGreaterThan(5)
    const counted = await train({ ...some, steps: timed.steps })
    expect(counted.loss).toBe(timed.loss)
    for (const t of tensorsOf([timed.parameters, counted.parameters])) t.dispose()
  })

  test("keeps its memory from step to step", async () => {
    const bytes: number[] = []
    const { parameters } = await train({ ...options(), text: corpus.training, onStep: () => bytes.push(memory().bytes) })
    expect(new Set(bytes).size).toBe(1)
    for (const t of tensorsOf(parameters)) t.dispose()
  })

  test("cools down before an early end, and is the same as ever until then", async () => {
    const losses = async (more: Partial<TrainedOptions>): Promise<number[]> => {
      const seen: number[] = []
      const { parameters } = await train({ ...options(), ...more, text: corpus.training, onStep: ({ loss }) => seen.push(loss) })
      for (const t of tensorsOf(parameters)) t.dispose()
      return seen
    }
    const plain = await losses({ stop: 20 }), cooled = await losses({ stop: 20, cooldown: 8 })
    // The rate of step 12 is the last that is whole; what it changes shows in the loss of step 14.
    const first = plain.findIndex((loss, i) => loss !== cooled[i])
    expect(first).toBe(14)
    expect(await losses({ stop: 20, cooldown: 0 })).toEqual(plain)
  })
})
