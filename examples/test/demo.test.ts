import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { loadState, memory, random, resetPeak, stateDict, tensorsOf, useDevice, type Device } from "@thimble/core"
import { openSafetensors, saveSafetensors } from "@thimble/formats"
import { open } from "@thimble/kernels"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { mobyDick, split, type Corpus } from "../demo/data.ts"
import { evaluate } from "../demo/evaluate.ts"
import { generate } from "../demo/generate.ts"
import { initialize } from "../demo/model.ts"
import { demo, type DemoOptions, type Row } from "../demo/pipeline.ts"
import { table } from "../demo/table.ts"
import { train } from "../demo/train.ts"

const config = { vocabulary: 256, width: 32, layers: 2, heads: 4, kvHeads: 2, hidden: 64, context: 32 }
const protocol = { context: 32, stride: 16, windows: 16 }
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

const options = (more: Partial<DemoOptions> = {}): DemoOptions =>
  ({ config, corpus, protocol, seed: 7, steps: 30, batch: 4, warmup: 5, rate: 0.01, prompt: "the ", sample: 20, out: join(folder, "out"), ...more })
/** All of a row that must not depend on the machine. */
const exact = ({ tokensPerSecond: _, ...row }: Row): Omit<Row, "tokensPerSecond"> => row

describe("the demo", () => {
  test("ends where it is interrupted, measures what it has, and gives the same again on two threads", async () => {
    const losses: number[] = []
    const interrupt = new AbortController()
    const before = memory().tensors
    const one = await demo(options({ signal: interrupt.signal, onStep: ({ step, loss }) => (losses.push(loss), step === 24 && interrupt.abort()) }))
    expect(memory().tensors - before).toBe(tensorsOf(one.trained.parameters).length)
    expect([one.trained.step, one.trained.steps, one.trained.programs]).toEqual([24, 30, 1])
    const files = await Promise.all(one.rows.map((r) => readFile(r.file)))

    const second = await open("wasm", { threads: 2 })
    const two = await demo(options({ stop: 24 }))
    expect(table(two.rows, false)).toBe(table(one.rows, false))
    expect(two.rows.map(exact)).toEqual(one.rows.map(exact))
    for (const [i, r] of two.rows.entries()) expect(Buffer.compare(await readFile(r.file), files[i]!)).toBe(0)
    for (const t of tensorsOf([one.trained.parameters, two.trained.parameters])) t.dispose()
    await second.close()
    useDevice(device)

    expect(losses[0]).toBeGreaterThan(5.3)
    expect(losses.at(-1)).toBeLessThan(3.7)
    const [f32, int8, int4] = one.rows as [Row, Row, Row]
    expect([f32.format, int8.format, int4.format]).toEqual(["f32", "int8", "int4g32"])
    expect(f32.divergence).toBe(0)
    expect(int8.divergence).toBeGreaterThan(0)
    expect(int4.divergence).toBeGreaterThan(int8.divergence)
    expect(f32.tokens).toBe(32 + 15 * 16)
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
})

describe("the model", () => {
  test("decodes every position with one program, without more memory for more tokens, and ends when told to", async () => {
    const parameters = await initialize(config, random.key(3))
    const write = { prompt: new TextEncoder().encode("a whale"), temperature: 1, seed: 5 }
    const before = memory().bytes, peaks: number[] = []
    const written: Uint8Array[] = []
    for (const count of [4, 25]) {
      resetPeak()
      const { bytes, programs } = await generate(parameters, config, { ...write, count })
      expect([programs, bytes.length]).toEqual([1, count])
      expect(memory().bytes).toBe(before)
      peaks.push(memory().peakBytes)
      written.push(bytes)
    }
    expect(peaks[0]).toBe(peaks[1])
    expect(written[1]!.subarray(0, 4)).toEqual(written[0])
    await expect(generate(parameters, config, { ...write, count: 26 })).rejects.toThrow(/7 \+ 26 tokens, the context has 32/)
    const { bytes } = await generate(parameters, config, { ...write, count: 4, signal: AbortSignal.abort() })
    expect(bytes).toHaveLength(0)
    for (const t of tensorsOf(parameters)) t.dispose()
  })

  test("is read back from its file as it was", async () => {
    const parameters = await initialize(config, random.key(4))
    const path = join(folder, "a.safetensors"), copy = join(folder, "b.safetensors")
    await saveSafetensors(path, stateDict(parameters), { metadata: { format: "pt" } })
    await using file = await openSafetensors(path)
    const loaded = loadState(parameters, await file.tensors())
    await saveSafetensors(copy, stateDict(loaded), { metadata: { format: "pt" } })
    expect(Buffer.compare(await readFile(copy), await readFile(path))).toBe(0)
    expect(await evaluate(parameters, loaded, config, corpus.heldOut, protocol)).toMatchObject({ divergence: 0 })
    for (const t of tensorsOf([parameters, loaded])) t.dispose()
  })
})
