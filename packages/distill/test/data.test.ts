// Tasks, negatives, and students that start as parts of a model.
import { adamW, linear, randn, realize, tensor, tensorsOf, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { loadModel, maskChannels, saveModel, type Model } from "@thimble/models"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { small, smallModel } from "../../models/test/random-model.ts"
import { channelNorms, contrastive, distill, examples, fit, forwardKL, labels, narrowed, network, onPolicy, representations, softTargets, tasks, withNegatives } from "../src/index.ts"
import { llama, valuesOf } from "./small.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})
const rows = async (t: Tensor): Promise<number[][]> => (await t.tolist()) as number[][]

describe("tasks", () => {
  const pairs = [{ prompt: [1, 2, 3], target: [4, 5] }, { prompt: [6], target: [7, 8, 9] }, { prompt: [1, 2], target: [] }]
  test("what is learned is each target and its end, each predicted from all before it; prompts and padding do not count", async () => {
    const { inputs, labels: right } = await tasks(pairs, { batch: 3, end: 30, pad: 31 }).batch(0)
    const found = new Map((await rows(inputs)).map((row, i) => [row.join(" "), i])), answers = await rows(right!)
    const of = (row: string): number[] => answers[found.get(row)!]!
    expect(of("1 2 3 4 5")).toEqual([-100, -100, 4, 5, 30])
    expect(of("6 7 8 9 31")).toEqual([7, 8, 9, 30, -100])
    expect(of("1 2 31 31 31")).toEqual([-100, 30, -100, -100, -100])
  })
  test("padding does not change a loss, nor do tokens of a prompt that nothing is predicted from", async () => {
    const model = llama(1), lossOf = async (length: number, pad: number): Promise<number> =>
      (await fit({ model, loss: labels(), data: tasks([pairs[0]!], { batch: 1, length, pad }), optimizer: adamW({ rate: 0 }), steps: 1 }).finish()).history.losses[0]!
    expect(await lossOf(4, 0)).toBeCloseTo(await lossOf(9, 17), 5)
  })
  test("an empty prompt or target, and what does not fit, are refused", () => {
    expect(() => tasks([{ prompt: [], target: [1] }], { batch: 1 })).toThrow("the prompt of task 0 is empty")
    expect(() => tasks([pairs[2]!], { batch: 1 })).toThrow("the target of task 0 is empty")
    expect(() => tasks(pairs.slice(0, 2), { batch: 1, length: 3 })).toThrow("task 0 takes 4 positions, a sequence has 3")
  })
  test("a student learns a task from a teacher who knows it, from its targets and from what it writes itself", async () => {
    // To repeat three letters backwards.
    const all = Array.from({ length: 60 }, (_, i) => [1 + (i % 4), 1 + ((i >> 2) % 4), 1 + ((i * 7) % 4)]).map((p) => ({ prompt: [...p, 0], target: p.toReversed() }))
    const data = tasks(all, { batch: 12, end: 9 }), how = { data, optimizer: adamW({ rate: 0.01 }), clip: 1 }
    const { model: teacher, history } = await fit({ model: llama(2), loss: labels(), ...how, steps: 150 }).finish()
    expect(history.losses.at(-1)!).toBeLessThan(0.5 * history.losses[0]!)
    const own = onPolicy(data, { prompt: "before labels", ends: [9], share: 0.5, seed: 3 })
    for (const [data, loss] of [[tasks(all, { batch: 12, end: 9 }), softTargets({ hard: 0.5 })], [own, forwardKL()]] as const) {
      const { history: { losses } } = await distill({ teacher, student: llama(1), loss, ...how, data, steps: 80 }).finish(), mean = (x: number[]): number => x.reduce((a, b) => a + b) / x.length
      expect(mean(losses.slice(-10))).toBeLessThan(0.6 * mean(losses.slice(0, 10)))
    }
    const { inputs, labels: right } = await onPolicy(data, { prompt: "before labels", ends: [9] }).batch(0, { model: teacher })
    const given = new Map((await rows((await data.batch(0)).inputs)).map((row) => [row.slice(0, 4).join(), true]))
    for (const [i, row] of (await rows(right!)).entries()) {
      expect(given.has((await rows(inputs))[i]!.slice(0, 4).join())).toBe(true)
      expect(row.slice(0, 3)).toEqual([-100, -100, -100])
      // Nothing counts after an end, which counts itself.
      const end = row.indexOf(9)
      if (end >= 0) expect(new Set(row.slice(end + 1)).size).toBeLessThanOrEqual(1)
      if (end >= 0 && end + 1 < row.length) expect(row[end + 1]).toBe(-100)
    }
  })
})

describe("negatives from a store of all examples", () => {
  const inputs = Float32Array.from({ length: 60 }, (_, i) => Math.sin(i * 1.3)), all = examples({ inputs, shape: [3], labels: Array.from({ length: 20 }, (_, i) => i % 4) }, { batch: 6, seed: 2 })
  const teacher = network({ parameters: { w: randn([5, 3], { seed: 1 }) }, forward: (p: { readonly w: Tensor }, x) => ({ final: linear(x, p.w), logits: linear(x, p.w) }), offers: ["final", "logits"], dimensions: { width: 5, classes: 5 } })
  test("are rows of what the teacher makes of other examples, not of the batch's own, and depend on the batch's number alone", async () => {
    const store = await representations(teacher, all, 20), of = (n: number): string => [...store.rows.subarray(5 * n, 5 * n + 5)].join()
    const whole = await linear(tensor(inputs, { shape: [20, 3] }), teacher.parameters.w).data()
    store.rows.forEach((v, i) => expect(v).toBeCloseTo(whole[i]!, 5))
    const names = new Map(Array.from({ length: 20 }, (_, n) => [of(n), n])), data = withNegatives(all, store, { count: 14, seed: 1 })
    for (const index of [0, 1, 5]) {
      const { negatives, numbers } = await data.batch(index), drawn = (await rows(negatives!)).map((row) => names.get(row.join())!), own = [...await numbers!.data()]
      expect(new Set([...drawn, ...own])).toEqual(new Set(Array.from({ length: 20 }, (_, i) => i)))
      expect((await rows((await data.batch(index)).negatives!))).toEqual(await rows(negatives!))
    }
    expect(() => withNegatives(all, store, { count: 20 })).toThrow("count must be a whole number ≥ 1 and below 20, got 20")
    await expect(async () => withNegatives(all, store, { count: 15 }).batch(0)).rejects.toThrow("15 others than the 6 of the batch are not there among 20")
  })
  test("count in the loss as examples of the batch do, only that they are nobody's own", async () => {
    const [s, t, others, ws, wt] = [randn([3, 4], { seed: 1 }), randn([3, 5], { seed: 2 }), randn([7, 5], { seed: 3 }), randn([2, 4], { seed: 4 }), randn([2, 5], { seed: 5 })]
    await realize(s, t, others, ws, wt)
    const loss = contrastive({ examples: 50, size: 2, temperature: 0.5 }), parameters = { student: ws, teacher: wt }
    const found = await loss.compute({ student: { final: s }, teacher: { final: t }, negatives: others, parameters }).item()
    const led = async (x: Tensor, w: Tensor): Promise<number[][]> => (await rows(linear(x, w))).map((r) => r.map((v) => v / Math.hypot(...r)))
    const [a, b, c] = [await led(s, ws), await led(t, wt), await led(others, wt)], chance = 9 / 50
    const h = (x: number[], y: number[]): number => { const e = Math.exp(x.reduce((n, v, i) => n + v * y[i]!, 0) / 0.5); return e / (e + chance) }
    const expected = a.map((x, i) => [...b, ...c].reduce((n, y, j) => n - Math.log(j === i ? h(x, y) : 1 - h(x, y)), 0)).reduce((x, y) => x + y) / 3
    expect(found).toBeCloseTo(expected, 4)
  })
  test("a student learns with them", async () => {
    const student = network({ parameters: { w: randn([4, 3], { seed: 9 }) }, forward: (p: { readonly w: Tensor }, x) => ({ final: linear(x, p.w) }), offers: ["final"], dimensions: { width: 4 } })
    const { history: { losses } } = await distill({ teacher, student, loss: contrastive({ examples: 20, size: 4 }), data: withNegatives(all, await representations(teacher, all, 20), { count: 10 }), optimizer: adamW({ rate: 0.02 }), steps: 60 }).finish()
    expect(losses.slice(-5).reduce((x, y) => x + y)).toBeLessThan(0.8 * losses.slice(0, 5).reduce((x, y) => x + y))
  })
})

describe("narrowed", () => {
  test.each(Object.keys(small))("%s: the student computes what the model does without its weakest channels", async (name) => {
    const model = smallModel(name), { links } = model.blocks()[0]!, count = links.channels.find((c) => c.name === "hidden")!.count, hidden = Math.ceil(count / 2)
    const student = await narrowed(model, { hidden }), ids = tensor(Int32Array.of(3, 1, 4, 1, 5), { shape: [1, 5] })
    const kept = Object.fromEntries(await Promise.all(model.blocks().map(async (block) => {
      const scores = await channelNorms(model, block, "hidden")
      return [block.layer, { hidden: [...scores.keys()].sort((a, b) => scores[b]! - scores[a]!).slice(0, hidden) }] as const
    })))
    const [a, b] = [await student.forward(ids).data(), await (await maskChannels(model, kept)).forward(ids).data()]
    expect(Math.max(...a.map((v, i) => Math.abs(v - b[i]!)))).toBeLessThan(1e-4)
    expect(student.size).toBeLessThan(model.size)
  })
  test("scores stay when factors move between matrices of a channel, and grow with each of them", async () => {
    const model = llama(1), block = model.blocks()[0]!, before = await channelNorms(model, block, "hidden")
    const scaled = async (factor: number, back: number): Promise<Model> => {
      const [up, down] = [model.weights["model.layers.0.mlp.up_proj"]!, model.weights["model.layers.0.mlp.down_proj"]!]
      return model.with({ "model.layers.0.mlp.up_proj": up.withParts({ values: up.dense().mul(factor) }), "model.layers.0.mlp.down_proj": down.withParts({ values: down.dense().mul(back) }) })
    }
    const same = await scaled(4, 0.25), more = await scaled(4, 1);
    (await channelNorms(same, same.blocks()[0]!, "hidden")).forEach((v, i) => expect(v).toBeCloseTo(before[i]!, 5));
    (await channelNorms(more, more.blocks()[0]!, "hidden")).forEach((v, i) => expect(v).toBeCloseTo(before[i]! + Math.log(4), 5))
  })
  test("is saved, loaded and trained as any other; what makes no sense is refused", async () => {
    const model = llama(2), folder = await mkdtemp(join(tmpdir(), "thimble-narrowed-")), student = await narrowed(model, { heads: 1, hidden: 8 })
    await saveModel(student, folder)
    expect(await valuesOf(await loadModel(folder))).toEqual(await valuesOf(student))
    await rm(folder, { recursive: true })
    const before = await valuesOf(model), data = tasks([{ prompt: [1, 2], target: [3, 4] }], { batch: 1 })
    const { history: { losses } } = await distill({ teacher: model, student, loss: softTargets(), data, optimizer: adamW({ rate: 0.02 }), steps: 30 }).finish()
    expect(losses.at(-1)!).toBeLessThan(0.5 * losses[0]!)
    expect(await valuesOf(model)).toEqual(before)
    await expect(narrowed(model, {})).rejects.toThrow("nothing is to go")
    await expect(narrowed(model, { hidden: 0 })).rejects.toThrow("hidden of block 0 must be a whole number from 1 to")
    await expect(narrowed(model, { hidden: 4, score: () => [1, 2] })).rejects.toThrow("2 scores for")
    for (const t of tensorsOf(student)) if (!tensorsOf(model).includes(t)) t.dispose()
  })
})
