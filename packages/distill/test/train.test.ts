import { mkdtemp, readdir, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { adamW, cat, crossEntropy, mapTree, memory, mul, schedule, sgd, tensor, tensorsOf, type Tensor } from "@thimble/core"
import { openSafetensors } from "@thimble/formats"
import { open } from "@thimble/kernels"
import type { Model } from "@thimble/models"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import {
  attentionMaps, chunked, contrastive, distill, evenly, examples, fit, forwardKL, hidden, labels, languageModel, lossCurve, network, relational, relations, softTargets, sum, topK, triple, windows,
  type Data, type Loss, type Run, type Step,
} from "../src/index.ts"
import { distance, lines, llama, points, text, valuesOf } from "./small.ts"

let folder: string
beforeAll(async () => {
  await open("wasm", { threads: 1 })
  folder = await mkdtemp(join(tmpdir(), "thimble-distill-"))
})
afterAll(() => rm(folder, { recursive: true }))

const data = (batch = 4, seed = 0): Data => windows(text, { batch, length: 12, seed, begin: 39 })
const all = async <M>(run: Run<M>): Promise<Step[]> => {
  const steps: Step[] = []
  for await (const s of run) steps.push(s)
  return steps
}

describe("fit", () => {
  test("learns, and leaves the model it was given as it was", async () => {
    const model = llama(), before = await valuesOf(model)
    const run = fit({ model, loss: labels(), data: data(), optimizer: adamW({ rate: 0.02 }), steps: 40, clip: 1 })
    const steps = await all(run), { model: made, stopped, steps: n, history } = await run.finish()
    expect([n, stopped, steps.length]).toEqual([40, "done", 40])
    expect(steps.at(-1)!.loss).toBeLessThan(0.6 * steps[0]!.loss)
    expect(steps.map((s) => s.loss)).toEqual(history.losses)
    expect(steps[0]).toMatchObject({ step: 1, steps: 40, tokens: 48, rate: undefined })
    expect(await valuesOf(model)).toEqual(before)
    // It is a model like any other.
    const batch = await data().batch(0)
    expect(await crossEntropy(made.forward(batch.inputs), batch.labels!).item()).toBeLessThan(0.7 * steps[0]!.loss)
    expect(await crossEntropy(model.forward(batch.inputs), batch.labels!).item()).toBeCloseTo(steps[0]!.loss, 4)
  })
  test("is a function of its options", async () => {
    const once = async (): Promise<number[][]> => valuesOf((await fit({ model: llama(), loss: labels(), data: data(), optimizer: adamW({ rate: 0.01 }), steps: 4 }).finish()).model)
    expect(await once()).toEqual(await once())
  })
  test("networks of any kind; the rate is a number of each step", async () => {
    const run = fit({ model: lines(), loss: distance, data: points(8), optimizer: sgd({ rate: 0 }), rate: schedule.linear({ from: 0.3, steps: 40 }), steps: 40 })
    const steps = await all(run)
    expect(steps.at(-1)!.loss).toBeLessThan(0.05 * steps[0]!.loss)
    expect([steps[0]!.rate, steps[20]!.rate]).toEqual([0.3, 0.15])
    expect(Object.keys((await run.finish()).model)).toEqual(["w", "b"])
  })
  test("only what trains changes", async () => {
    const model = llama(), { model: made } = await fit({ model, loss: labels(), data: data(), optimizer: sgd({ rate: 0.1 }), steps: 2, trains: (path) => path.includes("mlp") }).finish()
    const [a, b] = [model.parts(), made.parts()]
    for (const name of Object.keys(a)) expect(b[name] === a[name]).toBe(!name.includes("mlp"))
    expect(await b["model.layers.0.mlp.up_proj.weight"]!.data()).not.toEqual(await a["model.layers.0.mlp.up_proj.weight"]!.data())
  })
  test("what is stored in 16 bits learns in 32", async () => {
    const model = mapTree(llama(), (t) => t.cast("bf16")), run = fit({ model, loss: labels(), data: data(), optimizer: sgd({ rate: 1e-4 }), steps: 3 })
    const { model: made } = await run.finish()
    expect([new Set(tensorsOf(model).map((t) => t.dtype)), new Set(tensorsOf(made).map((t) => t.dtype))]).toEqual([new Set(["bf16"]), new Set(["f32"])])
    // Steps that bf16 would have rounded away.
    const [a, b] = [(await valuesOf(model)).flat(), (await valuesOf(made)).flat()]
    expect(a.filter((v, i) => v !== b[i]).length).toBeGreaterThan(0.9 * a.length)
  })
  test("several batches make a step as one of all of them does", async () => {
    const halves = points(4), whole: Data = {
      id: () => "whole",
      batch: async (i) => {
        const [a, b] = [await halves.batch(2 * i), await halves.batch(2 * i + 1)]
        return { inputs: cat([a.inputs, b.inputs]), labels: cat([a.labels!, b.labels!]) }
      },
    }
    const how = { model: lines(), loss: distance, optimizer: adamW({ rate: 0.05 }), steps: 5, clip: 0.5 }
    const [a, b] = [fit({ ...how, data: halves, accumulate: 2 }), fit({ ...how, data: whole })]
    const [x, y] = [await all(a), await all(b)]
    x.forEach((s, i) => expect([s.loss, s.norm]).toEqual([expect.closeTo(y[i]!.loss, 5), expect.closeTo(y[i]!.norm, 5)]))
    const [u, v] = [await valuesOf((await a.finish()).model), await valuesOf((await b.finish()).model)]
    u.flat().forEach((n, i) => expect(n).toBeCloseTo(v.flat()[i]!, 5))
  })
  test("batches whose labels count differently join as their positions do", async () => {
    const rows = (index: number): { inputs: number[][]; labels: number[][] } => (index % 2 === 0 ? { inputs: [[3, 9, 1, 30]], labels: [[9, 1, 30, 2]] } : { inputs: [[7, 7, 8, 2]], labels: [[5, -100, -100, -100]] })
    const one: Data = { id: () => "one", batch: (i) => ({ inputs: tensor(rows(i).inputs, { dtype: "i32" }), labels: tensor(rows(i).labels, { dtype: "i32" }) }) }
    const both: Data = { id: () => "both", batch: () => ({ inputs: tensor([...rows(0).inputs, ...rows(1).inputs], { dtype: "i32" }), labels: tensor([...rows(0).labels, ...rows(1).labels], { dtype: "i32" }) }) }
    const how = { model: llama(1), loss: labels(), optimizer: sgd({ rate: 0.1 }), steps: 1 }
    const [a, b] = [await all(fit({ ...how, data: one, accumulate: 2 })), await all(fit({ ...how, data: both }))]
    expect([a[0]!.loss, a[0]!.norm]).toEqual([expect.closeTo(b[0]!.loss, 5), expect.closeTo(b[0]!.norm, 4)])
  })
  test("memory does not grow from step to step, and nothing is left but the result", async () => {
    const run = fit({ model: llama(), loss: labels(), data: data(), optimizer: adamW({ rate: 0.01 }), steps: 12, accumulate: 2 }), held: number[] = []
    // What other tests dropped may be collected meanwhile.
    const count = (): number => memory().tensors + memory().collected, before = count()
    for await (const _ of run) held.push(count())
    expect(new Set(held.slice(2)).size).toBe(1)
    const { model } = await run.finish()
    expect(count() - before).toBeLessThanOrEqual(tensorsOf(model).length)
    for (const t of tensorsOf(model)) t.dispose()
  })
})

describe("distill", () => {
  test("a student comes closer to its teacher; the teacher stays as it is", async () => {
    const teacher = llama(4), student = llama(2), before = await valuesOf(teacher)
    const steps = await all(distill({ teacher, student, loss: softTargets({ temperature: 2 }), data: data(), optimizer: adamW({ rate: 0.01 }), steps: 40, clip: 1 }))
    expect(steps.at(-1)!.loss).toBeLessThan(0.5 * steps[0]!.loss)
    expect(await valuesOf(teacher)).toEqual(before)
  })
  test("J4: of a student that equals its teacher nothing moves", async () => {
    const teacher = llama(), run = distill({ teacher, student: llama(), loss: sum([1, forwardKL()], [1, hidden({ layers: [[0, 0], ["final", "final"]] })], [1, attentionMaps()], [1, relations()]), data: data(), optimizer: sgd({ rate: 0.1 }), steps: 2 })
    for (const s of await all(run)) expect([s.loss, s.norm]).toEqual([expect.closeTo(0, 5), expect.closeTo(0, 4)])
    const [a, b] = [await valuesOf(teacher), await valuesOf((await run.finish()).model)]
    a.flat().forEach((v, i) => expect(Math.abs(v - b.flat()[i]!)).toBeLessThan(1e-6))
  })
  test("all losses at once, between different widths and depths; projections are learned, and terms are told apart", async () => {
    const teacher = llama(4, { hidden_size: 24, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 6 }), student = llama(2)
    const loss = sum([0.5, softTargets({ hard: 0.1, temperature: 2 })], [0.1, hidden({ layers: evenly() })], [0.1, attentionMaps()], [0.1, relations({ heads: 2 })], [0.1, relational()], [0.01, contrastive({ examples: 500, size: 8 })], [0.5, labels()])
    const run = distill({ teacher, student, loss, data: data(), optimizer: adamW({ rate: 0.01 }), steps: 25, clip: 1 })
    const steps = await all(run), [first, last] = [steps[0]!, steps.at(-1)!]
    expect(Object.keys(first.parts)).toEqual(["sum(0.9·softTargets + 0.1·labels)", "hidden", "attentionMaps", "relations of values", "relational", "contrastive", "labels"])
    const weights = [0.5, 0.1, 0.1, 0.1, 0.1, 0.01, 0.5]
    expect(Object.values(first.parts).reduce((n, v, i) => n + v * weights[i]!, 0)).toBeCloseTo(first.loss, 4)
    expect(last.loss).toBeLessThan(0.8 * first.loss)
    expect(last.parts.hidden!).toBeLessThan(first.parts.hidden!)
    expect(Object.keys((await run.finish()).loss)).toEqual(["1.project.0", "1.project.1", "5.student", "5.teacher"])
  })
  test("DistilBERT's three, between encoders with padding", async () => {
    const { smallModel } = await import("../../models/test/random-model.ts")
    const masked: Data = { id: () => "masked", batch: (i) => ({ inputs: tensor([[3, 9, 1 + (i % 3), 30, 0, 0]], { dtype: "i32" }), labels: tensor([[-100, 5, -100, 7, -100, -100]], { dtype: "i32" }), padding: tensor([[1, 1, 1, 1, 0, 0]], { dtype: "i32" }), mask: tensor([[1, 1, 1, 1, 0, 0]], { dtype: "i32" }) }) }
    const steps = await all(distill({ teacher: smallModel("bert"), student: smallModel("distilbert"), loss: triple(), data: masked, optimizer: adamW({ rate: 0.01 }), steps: 15, clip: 5 }))
    expect(Object.keys(steps[0]!.parts)).toEqual(["softTargets", "labels", "hidden (cosine)"])
    expect(steps.at(-1)!.loss).toBeLessThan(0.7 * steps[0]!.loss)
  })
  test("in chunks, of the most probable, with blocks computed again: the same numbers", async () => {
    const how = { data: data(), optimizer: sgd({ rate: 0.05 }), steps: 3 }, teacher = llama(3), student = llama(2)
    const losses = async (student: Parameters<typeof distill>[0]["student"], loss: Loss): Promise<number[]> => (await all(distill({ ...how, teacher, student, loss }))).map((s) => s.loss)
    const soft = await losses(student, softTargets({ temperature: 2 }))
    const near = (got: number[]): void => got.forEach((v, i) => expect(v).toBeCloseTo(soft[i]!, 4))
    near(await losses(student, chunked(softTargets({ temperature: 2 }), { positions: 5 })))
    near(await losses(student, forwardKL({ temperature: 2, restrict: topK(40) })))
    near(await losses(languageModel(student, { keep: "blocks" }), softTargets({ temperature: 2 })))
  })
  test("f16 and bf16 come close, the parameters staying f32; a loss scale that overflows is made smaller", async () => {
    const how = { teacher: llama(2), data: data(), optimizer: sgd({ rate: 0.05 }), steps: 4, loss: softTargets({ temperature: 2 }) }
    const exact = (await all(distill({ ...how, student: llama(1) }))).map((s) => s.loss)
    for (const precision of ["f16", "bf16"] as const) {
      const run = distill({ ...how, student: languageModel(llama(1), { precision }) }), got = (await all(run)).map((s) => s.loss)
      got.forEach((v, i) => expect(Math.abs(v - exact[i]!)).toBeLessThan(precision === "f16" ? 0.01 : 0.08))
      expect(new Set(tensorsOf((await run.finish()).model).map((t) => t.dtype))).toEqual(new Set(["f32"]))
    }
    const large: Loss = { ...distance, name: "large", compute: (view) => mul(distance.compute(view), 3e30) }
    const steps = await all(fit({ model: { ...lines(), precision: "f16" }, loss: large, data: points(4, (_, x) => mul(x, 1e4)), optimizer: sgd({ rate: 1e-40 }), steps: 6 }))
    expect(steps.map((s) => s.skipped ?? false)).toContain(true)
  })
  test("blocks computed again need less memory", async () => {
    const used = (): number => memory().devices.wasm!.used!
    const peak = async (keep: "all" | "blocks"): Promise<number> => {
      const before = used(), run = fit({ model: languageModel(llama(8), { keep }), loss: labels(), data: windows(text, { batch: 8, length: 48 }), optimizer: sgd({ rate: 0.01 }), steps: 1 })
      let most = 0
      for await (const _ of run) most = used() - before
      await run.finish()
      return most
    }
    const [every, blocks] = [await peak("all"), await peak("blocks")]
    expect(blocks).toBeLessThan(0.5 * every)
  })
  test("an average of its own past teaches a student", async () => {
    const run = distill({ teacher: { decay: 0.9 }, student: llama(), loss: sum([1, labels()], [1, forwardKL()]), data: data(), optimizer: adamW({ rate: 0.01 }), steps: 10, clip: 1 })
    const steps = await all(run)
    expect(steps[0]!.parts.forwardKL).toBeCloseTo(0, 5)
    expect(steps.at(-1)!.parts.forwardKL).toBeGreaterThan(1e-4)
    expect(steps.at(-1)!.parts.labels).toBeLessThan(steps[0]!.parts.labels!)
  })
})

/** The bytes of all files below a folder. */
async function bytesOf(path: string): Promise<Record<string, string>> {
  const out: Record<string, string> = {}
  for (const name of (await readdir(path, { recursive: true, withFileTypes: true })).filter((f) => f.isFile())) out[join(name.parentPath, name.name).slice(path.length)] = (await readFile(join(name.parentPath, name.name))).toString("base64")
  return out
}

describe("checkpoints", () => {
  const kl = async (model: Model): Promise<Record<string, number>> => {
    const { inputs, labels } = await data(2, 99).batch(0)
    return { loss: await crossEntropy(model.forward(inputs), labels!).item() as number }
  }
  const how = (name: string, signal?: AbortSignal) => ({
    teacher: llama(2), student: llama(1, { hidden_size: 12, head_dim: 4 }), loss: sum([1, softTargets()], [0.1, hidden({ layers: [[0, 1]] })]), data: data(), optimizer: adamW({ rate: 0.02 }), steps: 8, clip: 1, accumulate: 2,
    evaluate: { every: 2, run: kl }, stop: { score: "loss", patience: 5 }, checkpoints: { folder: join(folder, name), every: 2, keep: 1 }, ...(signal && { signal }),
  })
  test("a run that was interrupted ends with the bytes of one that was not", async () => {
    await distill(how("straight")).finish()
    const straight = await bytesOf(join(folder, "straight"))
    expect(Object.keys(straight).sort()).toEqual(["/step-00000008/progress.json", "/step-00000008/state.safetensors"])
    // Aborted after step 3, between checkpoints; then left after step 5.
    const control = new AbortController(), aborted = distill(how("broken", control.signal))
    for await (const s of aborted) if (s.step === 3) control.abort()
    expect((await aborted.finish()).stopped).toBe("aborted")
    expect(await readdir(join(folder, "broken"))).toEqual(["step-00000003"])
    const second = distill(how("broken"))
    for await (const s of second) if (s.step === 5) break
    expect(await second.finish()).toMatchObject({ stopped: "left", steps: 5 })
    const steps = await all(distill(how("broken")))
    expect(steps.map((s) => s.step)).toEqual([6, 7, 8])
    expect(await bytesOf(join(folder, "broken"))).toEqual(straight)
  })
  test("what was trained otherwise is not gone on with; a folder may be asked to be new", async () => {
    await expect(distill({ ...how("straight"), clip: 2 }).finish()).rejects.toThrow(/straight\/step-00000008 is of another run: clip is 2, not 1; train as before, or name another folder/)
    await expect(distill({ ...how("straight"), data: data(4, 5) }).finish()).rejects.toThrow(/is of another run: data is/)
    await expect(distill({ ...how("straight"), checkpoints: { folder: join(folder, "straight"), resume: "none" } }).finish()).rejects.toThrow(/has checkpoints of an earlier run/)
  })
  test("a loss that is not a number ends training at its step, with the last good state", async () => {
    const where = join(folder, "nan"), run = fit({
      model: lines(), loss: distance, data: points(4, (i, x) => (i === 5 ? mul(x, NaN) : x)), optimizer: adamW({ rate: 0.01 }), steps: 10, checkpoints: { folder: where, every: 4 },
    })
    const seen: number[] = []
    await expect((async () => {
      for await (const s of run) seen.push(s.step)
    })()).rejects.toThrow(/fit: the loss of step 6 is NaN \(distance NaN\); the last good state is in .*nan\/step-00000005; a lower rate, or clip, may help/)
    expect(seen).toEqual([1, 2, 3, 4, 5])
    const { model, stopped, steps } = await run.finish()
    expect([stopped, steps]).toEqual(["failed", 5])
    await using file = await openSafetensors(join(where, "step-00000005", "state.safetensors"))
    const kept = await file.tensors()
    expect([...(await kept["learned.model.w"]!.data())]).toEqual([...(await model.w.data())])
    expect((await valuesOf(kept)).flat().every(Number.isFinite)).toBe(true)
  })
  test("training ends when scores get no better, with the best model", async () => {
    let n = 0
    const scores = [5, 3, 4, 4, 2], models: number[][][] = []
    const run = fit({
      model: lines(), loss: distance, data: points(4), optimizer: sgd({ rate: 0.01 }), steps: 20,
      evaluate: { every: 2, run: async (model) => (models.push(await valuesOf(model)), { score: scores[n++]! }) }, stop: { score: "score", patience: 2 },
    })
    const steps = await all(run), { model, stopped, best } = await run.finish()
    expect([steps.length, stopped, best]).toEqual([8, "early", { step: 4, score: 3 }])
    expect(await valuesOf(model)).toEqual(models[1])
  })
})

describe("what does not fit is refused", () => {
  const how = { data: data(), optimizer: sgd({ rate: 0.1 }), steps: 1 }
  const logitsOnly = network({ parameters: { w: tensor([[1]]) }, forward: (p: { w: Tensor }, x) => x.cast("f32").unsqueeze(-1).mul(p.w), dimensions: { classes: 40 } })
  test.each<[string, () => unknown, string | RegExp]>([
    ["a teacher that has only logits", () => distill({ ...how, teacher: logitsOnly, student: llama(), loss: hidden() }), "distill: hidden needs the teacher's hidden states, and it shows only logits, most probable classes"],
    ["no teacher", () => fit({ ...how, model: llama(), loss: softTargets() }), "fit: softTargets needs a teacher; distill({ teacher, student, … })"],
    ["vocabularies of different sizes", () => distill({ ...how, teacher: llama(2, { vocab_size: 41 }), student: llama(), loss: softTargets() }), "softTargets: the student knows 40 classes, the teacher 41"],
    ["layers that are not there", () => distill({ ...how, teacher: llama(2), student: llama(), loss: hidden({ layers: [[0, 3]] }) }), "hidden: the teacher has no block 3; it has 2, from 0 on"],
    ["more heads than the other has", () => distill({ ...how, teacher: llama(2, { num_attention_heads: 2, num_key_value_heads: 1, head_dim: 4 }), student: llama(), loss: attentionMaps() }), "attentionMaps: the student has 4 heads, the teacher 2; relations({ heads }) compares models of different heads"],
    ["windows longer than the context", () => distill({ ...how, data: windows(text, { batch: 1, length: 65 }), teacher: llama(2, { max_position_embeddings: 128 }), student: llama(), loss: softTargets() }), "distill: sequences have 65 positions, the student's context 64; cut the data into shorter windows"],
    ["steps that are none", () => fit({ ...how, model: llama(), loss: labels(), steps: 0 }), "fit: steps must be a whole number ≥ 1, got 0"],
    ["an end without a score", () => fit({ ...how, model: llama(), loss: labels(), stop: { score: "kl", patience: 2 } }), "nothing gives the score 'kl' that ends training"],
    ["shown insides of blocks that are computed again", () => distill({ ...how, teacher: llama(), student: languageModel(llama(), { keep: "blocks" }), loss: attentionMaps() }), /needs the student's attention maps, and it shows only/],
  ])("%s", (_, make, message) => {
    expect(make).toThrow(message)
  })
  test("a teacher that is computed from the student, so that it would have a gradient", () => {
    const student = lines(), teacher = network({ parameters: { w: student.parameters.w.mul(2) }, forward: (p: { w: Tensor }, x) => x.matmul(p.w.T), dimensions: { classes: 2 } })
    expect(() => distill({ ...how, teacher, student, loss: softTargets() })).toThrow("distill: the teacher is computed from tensors of the student, so it would have a gradient; realize the teacher first")
  })
  test("tokenizers whose tokens differ", () => {
    const named = (names: string[]): never => ({ size: 40, tokenOf: (id: number) => names[id] ?? `t${id}` }) as never
    const of = (model: Model, names: string[]): Model => model.with({}, { tokenizer: named(names) })
    expect(() => distill({ ...how, teacher: of(llama(), ["a", "b"]), student: of(llama(), ["a", "c"]), loss: softTargets() })).toThrow('token 1 is "c" to the student and "b" to the teacher')
  })
  test("data without labels, at the first step", async () => {
    const none: Data = { id: () => "none", batch: () => ({ inputs: tensor([[1, 2]], { dtype: "i32" }) }) }
    await expect(fit({ ...how, model: llama(), loss: labels(), data: none }).finish()).rejects.toThrow("fit: labels needs labels, and the data has none")
  })
})

test("examples come in a new order each round, and all of them", async () => {
  const inputs = Float32Array.from({ length: 20 }, (_, i) => i), made = examples({ inputs, shape: [2], labels: Array.from({ length: 10 }, (_, i) => i) }, { batch: 5, seed: 3 })
  const seen = async (index: number): Promise<number[]> => {
    const { inputs, labels } = await made.batch(index), right = [...(await labels!.data())]
    expect([...(await inputs.data())]).toEqual(right.flatMap((i) => [2 * i, 2 * i + 1]))
    return right
  }
  const rounds = [[...(await seen(0)), ...(await seen(1))], [...(await seen(2)), ...(await seen(3))]]
  for (const r of rounds) expect([...r].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(rounds[0]).not.toEqual(rounds[1])
  expect(await seen(1)).toEqual(rounds[0]!.slice(5))
  expect(() => examples({ inputs, shape: [3] }, { batch: 2 })).toThrow("20 numbers are no examples of [3]")
})
test("a curve of losses and scores", () => {
  const svg = lossCurve({ losses: [4, 3, 2.5, 2.25], scores: [{ step: 2, scores: { "held out": 3.5 } }, { step: 4, scores: { "held out": 3 } }] }, { points: 2 })
  expect(svg).toMatch(/^<svg .*<\/svg>\n$/s)
  expect(svg.match(/<polyline/g)).toHaveLength(2)
  expect(svg).toContain(">held out</text>")
})
