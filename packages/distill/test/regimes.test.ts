import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { adamW, sgd, tensorsOf } from "@thimble/core"
import { open } from "@thimble/kernels"
import { loadModel, saveModel, type Model } from "@thimble/models"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { small, smallEncoders, smallModel } from "../../models/test/random-model.ts"
import { dataFree, distill, dropLayers, evenBlocks, everySecond, fit, forwardKL, labels, onPolicy, progressive, sequences, softTargets, windows, writtenBy } from "../src/index.ts"
import { llama, text, valuesOf } from "./small.ts"

let folder: string
beforeAll(async () => {
  await open("wasm", { threads: 1 })
  folder = await mkdtemp(join(tmpdir(), "thimble-regimes-"))
})
afterAll(() => rm(folder, { recursive: true }))
const data = (batch = 4) => windows(text, { batch, length: 12 })

describe("dropping layers", () => {
  test.each([...Object.keys(small), ...Object.keys(smallEncoders)])("%s: the student is the blocks that are left, run one after the other", async (name) => {
    const model = smallModel(name, name === "gpt2" ? { n_layer: 4 } : name === "distilbert" ? { n_layers: 4 } : { num_hidden_layers: 4 }), { inputs } = await data(2).batch(0)
    const student = dropLayers(model, [0, 2])
    expect([student.config.layers, student.blocks().length]).toEqual([2, 2])
    let x = model.embed(inputs)
    for (const i of [0, 2]) x = model.blocks()[i]!.forward(x)
    const [a, b] = [await model.head(x).data(), await student.forward(inputs).data()]
    // Windows belong to blocks: a block of the student looks as far back as it did.
    expect(Math.max(...a.map((v, i) => Math.abs(v - b[i]!)))).toBeLessThan(1e-5)
    expect(await valuesOf(dropLayers(model, (n) => Array.from({ length: n }, (_, i) => i)))).toEqual(await valuesOf(model))
  })
  test("a student is saved and loaded as any other, with the config changed", async () => {
    const student = dropLayers(llama(4), everySecond), path = join(folder, "student")
    await saveModel(student, path)
    const loaded = await loadModel(path)
    expect(loaded.config.layers).toBe(2)
    expect(await valuesOf(loaded)).toEqual(await valuesOf(student))
  })
  test("which blocks: every second, or evenly", () => {
    expect([everySecond(6), everySecond(5), evenBlocks(12, 3), evenBlocks(4, 1), evenBlocks(5, 5)]).toEqual([[0, 2, 4], [0, 2, 4], [0, 6, 11], [0], [0, 1, 2, 3, 4]])
    expect(() => dropLayers(llama(2), [2])).toThrow("dropLayers: there is no block 2; the model has 2, from 0 on")
    expect(() => dropLayers(llama(2), [1, 0])).toThrow("blocks must be named once, in their order, got 1, 0")
    expect(() => dropLayers(llama(2), [])).toThrow("no block is left")
  })
  test("training does not touch the teacher whose tensors it starts with", async () => {
    const teacher = llama(4), before = await valuesOf(teacher), student = dropLayers(teacher, everySecond)
    const run = distill({ teacher, student, loss: softTargets(), data: data(), optimizer: adamW({ rate: 0.01 }), steps: 30, clip: 1 }), losses: number[] = []
    for await (const s of run) losses.push(s.loss)
    expect(losses.at(-1)!).toBeLessThan(0.7 * losses[0]!)
    expect(await valuesOf(teacher)).toEqual(before)
    // It starts nearer than a random one does.
    const random: number[] = []
    for await (const s of distill({ teacher, student: llama(2, { initializer_range: 0.5 }), loss: softTargets(), data: data(), optimizer: sgd({ rate: 0 }), steps: 1 })) random.push(s.loss)
    expect(random[0]!).not.toBe(losses[0]!)
  })
})

describe("the teacher's texts", () => {
  const trained = async (): Promise<Model> => (await fit({ model: llama(2), loss: labels(), data: data(8), optimizer: adamW({ rate: 0.02 }), steps: 80, clip: 1 }).finish()).model
  test("are what it writes, and a student learns from them alone", async () => {
    const teacher = await trained(), rows = await writtenBy(teacher, { sequences: 20, length: 12, begin: 7, together: 8, temperature: 0.7, seed: 3 })
    expect([rows.length, new Set(rows.map((r) => r.length)), new Set(rows.map((r) => r[0]))]).toEqual([20, new Set([13]), new Set([7])])
    expect(await writtenBy(teacher, { sequences: 20, length: 12, begin: 7, together: 8, temperature: 0.7, seed: 3 })).toEqual(rows)
    const texts = sequences(rows, { batch: 5, seed: 1 }), { inputs, labels: right } = await texts.batch(0)
    expect([inputs.shape, right!.shape, texts.batches, texts.length]).toEqual([[5, 12], [5, 12], 4, 12])
    const [first] = (await inputs.tolist()) as number[][], [next] = (await right!.tolist()) as number[][]
    expect(next!.slice(0, -1)).toEqual(first!.slice(1))
    expect(rows.map((r) => [...r].join())).toContain([...first!, next!.at(-1)].join())
    const losses: number[] = []
    for await (const s of fit({ model: llama(1), loss: labels(), data: texts, optimizer: adamW({ rate: 0.02 }), steps: 40, clip: 1 })) losses.push(s.loss)
    expect(losses.at(-1)!).toBeLessThan(0.6 * losses[0]!)
  })
  test("data-free: every batch is drawn anew from a single token, the same for its number, and a student learns from them", async () => {
    const teacher = llama(2), free = dataFree(teacher, { batch: 4, length: 10, begin: 7, id: "small" }), ids = async (i: number) => (await (await free.batch(i)).inputs.tolist()) as number[][]
    const [a, b] = [await ids(0), await ids(1)]
    expect([a.length, a[0]!.length, new Set([...a, ...b].map((r) => r[0]))]).toEqual([4, 10, new Set([7])])
    expect(a).not.toEqual(b)
    expect(await ids(0)).toEqual(a)
    const { history: { losses } } = await distill({ teacher, student: llama(1), loss: forwardKL(), data: free, optimizer: adamW({ rate: 0.02 }), steps: 25, clip: 1 }).finish()
    expect(losses.at(-1)!).toBeLessThan(0.7 * losses[0]!)
  })
  test("on-policy: the student writes as it is now, from given beginnings, which do not count", async () => {
    const base = data(3), policy = onPolicy(base, { prompt: 4, seed: 2 }), model = llama(1), [a, b] = [await base.batch(5), await policy.batch(5, { model })]
    const [given, own, right] = [(await a.inputs.tolist()) as number[][], (await b.inputs.tolist()) as number[][], (await b.labels!.tolist()) as number[][]]
    own.forEach((row, i) => {
      expect(row.slice(0, 4)).toEqual(given[i]!.slice(0, 4))
      expect(right[i]!.slice(0, 3)).toEqual([-100, -100, -100])
      expect(right[i]!.slice(3, -1)).toEqual(row.slice(4))
      expect(right[i]!.at(-1)).toBeGreaterThanOrEqual(0)
    })
    expect(own).not.toEqual(given)
    const again = await policy.batch(5, { model })
    expect(await again.inputs.tolist()).toEqual(own)
    expect(() => onPolicy(base, { prompt: 12 })).toThrow("a prompt of 12 tokens leaves nothing to write of 12")
    // A share of the batches, by their number.
    const rising = onPolicy(base, { prompt: 4, share: (i) => i / 40 }), written: boolean[] = []
    for (let i = 0; i < 40; i++) {
      const batch = await rising.batch(i, { model })
      written.push(((await batch.labels!.tolist()) as number[][])[0]![0] === -100)
    }
    expect(written.slice(0, 20).filter(Boolean).length).toBeLessThan(written.slice(20).filter(Boolean).length)
  })
  test("on-policy: a student comes closer to its teacher, and an interrupted run ends as one that was not", async () => {
    const how = (name: string) => ({
      teacher: llama(3), student: llama(1), loss: forwardKL(), data: onPolicy(data(2), { prompt: 3, share: 0.5, seed: 1 }), optimizer: adamW({ rate: 0.02 }), steps: 12, clip: 1,
      checkpoints: { folder: join(folder, name) },
    })
    const straight = await distill(how("a")).finish()
    const broken = distill(how("b"))
    for await (const s of broken) if (s.step === 5) break
    const rest = await distill(how("b")).finish()
    expect(rest.history.losses).toEqual(straight.history.losses)
    expect(await valuesOf(rest.model)).toEqual(await valuesOf(straight.model))
    expect(straight.history.losses.at(-1)!).toBeLessThan(straight.history.losses[0]!)
  })
})

test("progressive: each student teaches the next, and stages that were done stay done", async () => {
  const how = { teacher: llama(4), students: [llama(2), llama(1)], loss: softTargets(), data: data(), optimizer: adamW({ rate: 0.01 }), steps: 6, clip: 1, checkpoints: { folder: join(folder, "chain") } }
  const run = progressive(how), stages: number[] = []
  for await (const s of run) stages.push(s.stage)
  expect(stages).toEqual([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
  const [assistant, last] = await run.finish()
  expect([assistant!.model.config.layers, last!.model.config.layers]).toEqual([2, 1])
  // The second learned from the first as it became, not from the first teacher.
  const alone = await distill({ ...how, teacher: assistant!.model, student: llama(1), checkpoints: { folder: join(folder, "alone") } }).finish()
  expect(await valuesOf(alone.model)).toEqual(await valuesOf(last!.model))
  const again = progressive(how)
  for await (const s of again) expect(s).toBeUndefined()
  expect(await valuesOf((await again.finish())[1]!.model)).toEqual(await valuesOf(last!.model))
  for (const t of tensorsOf(last!.model)) t.dispose()
})
