import { adamW, compile, distillationLoss, realize, tensor, tensorsOf, valueAndGrad, crossEntropy, type Optimizer, type Tensor } from "@thimble/core"
import { beforeAll, describe, expect, test } from "vitest"
import { open } from "../../kernels/src/index.ts"
import type { Model } from "../../models/src/index.ts"
import { smallModel } from "../../models/test/random-model.ts"
import { affine, convert, gptq, int, isFake, lsq, nf4, plan, prepare, masked, quantize, rtn, sequencesOf, ternary, tuned, type PrepareOptions } from "../src/index.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})

const [batch, length] = [4, 16]
/** Text with something to learn: ids that count up by steps of their own. */
const text = (seed: number): Tensor => tensor(Int32Array.from({ length: batch * length }, (_, i) => (seed + (i % length) * (1 + (Math.floor(i / length) % 3))) % 40), { shape: [batch, length] })
const loss = (m: Model, ids: Tensor): Tensor => crossEntropy(m.forward(ids.slice([], [0, length - 1])), ids.slice([], [1, length]))
const bits = async (t: Tensor): Promise<number[]> => [...new Int32Array((await t.data()).buffer.slice(0))]

/** Trains for some steps; gives the losses and the model. */
async function train<S>(model: Model, optimizer: Optimizer<S>, steps: number, of: (m: Model, ids: Tensor) => Tensor = loss): Promise<{ model: Model; losses: number[] }> {
  const step = compile((m: Model, state: S, ids: Tensor) => {
    const { value, grads } = valueAndGrad(of)(m, ids), { parameters, state: next } = optimizer.update(m, grads, state)
    return { model: parameters, state: next, value }
  }, { donate: [0, 1] })
  let state = optimizer.init(model)
  const losses: number[] = []
  await realize(...tensorsOf(state))
  for (let i = 0; i < steps; i++) {
    const made = await step(model, state as never, text(i % 8)) as { model: Model; state: S; value: Tensor }
    ;({ model, state } = made)
    losses.push(await made.value.item())
  }
  step.dispose()
  for (const t of tensorsOf(state)) t.dispose()
  return { model, losses }
}
const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length

const ways: Readonly<Record<string, PrepareOptions>> = {
  "int3 in groups": { default: int(3, { group: 8 }) },
  "int2, learned steps": { default: lsq(int(2)), rules: [["lm_head", int(4)], ["embed_tokens", "keep"]] },
  "int4, asymmetric, learned steps": { default: lsq(int(4, { range: "asymmetric", group: 7, scales: "f32" })) },
  "scales of blocks, whose codes stay": { default: tuned(int(4, { group: 8 })), rules: [["embed_tokens", "keep"], ["lm_head", "keep"]] },
  "scales and minima": { default: tuned(affine(3, { group: 7, scales: "bf16" })), rules: [["embed_tokens", "keep"]] },
  "what pruning left": { default: masked(0.5), rules: [["lm_head", masked({ keep: 2, of: 4 })]] },
  "a rule by pattern, a format that is rounded on the host": { rules: [[/mlp/, nf4({ group: 8 })], [/self_attn/, ternary({ group: 8 })]] },
}

describe.each(Object.entries(ways))("%s", (_, how) => {
  test("training lowers the loss, and H2: what is converted computes what was trained, bit for bit", async () => {
    const model = smallModel("llama")
    const prepared = await prepare(model, how), rate = adamW({ rate: 0.02 })
    expect(Object.values(prepared.weights).filter(isFake).length).toBeGreaterThan(0)
    const { model: trained, losses } = await train(prepared, rate, 25)
    expect(mean(losses.slice(-4))).toBeLessThan(0.75 * mean(losses.slice(0, 4)))
    const small = await convert(trained)
    for (const [path, weight] of Object.entries(small.weights)) {
      expect(isFake(weight)).toBe(false)
      expect(await bits(weight.dense()), path).toEqual(await bits(trained.weights[path]!.dense()))
    }
    expect(await bits(small.forward(text(3)))).toEqual(await bits(trained.forward(text(3))))
    expect(small.bytes).toBeLessThan(trained.bytes)
    // The first model shared nothing with what was trained and donated.
    expect(await model.forward(text(1)).sum().item()).not.toBeNaN()
  })
})

test("distilling is a loss of the user's: the teacher's logits, without a gradient", async () => {
  const teacher = smallModel("llama"), student = await prepare(teacher, { default: int(2, { group: 8 }) })
  const toTeacher = (m: Model, ids: Tensor): Tensor => distillationLoss(m.forward(ids), teacher.forward(ids), { temperature: 2 })
  const { model, losses } = await train(student, adamW({ rate: 0.01 }), 25, toTeacher)
  expect(mean(losses.slice(-4))).toBeLessThan(0.7 * losses[0]!)
  const after = await convert(model)
  expect(await toTeacher(after, text(2)).item()).toBe(await toTeacher(model, text(2)).item())
})

test("activations of int8 are rounded while training, too", async () => {
  const model = await prepare(smallModel("llama"), { default: int(8), activations: "int8" }), small = await convert(model)
  const [a, b] = [await model.forward(text(0)).data(), await small.forward(text(0)).data()]
  a.forEach((v, i) => expect(v).toBeCloseTo(b[i]!, 4))
  const { grads } = valueAndGrad(loss)(model, text(0))
  for (const g of tensorsOf(grads)) expect((await g.data()).every(Number.isFinite)).toBe(true)
})

test.each([int(2, { group: 8, range: "asymmetric" }), int(3, { group: 8 })].map((f) => [f.name, f] as const))("%s: learned steps of what is stored already start with its codes and steps, and stored again it is the same", async (_, format) => {
  const teacher = smallModel("llama"), data = await sequencesOf([Array.from({ length: 16 }, (_, i) => (i * 7) % 40), Array.from({ length: 16 }, (_, i) => (i * 11 + 3) % 40)])
  for (const method of [rtn(format), gptq({ format, order: "activity", grids: "static" })]) {
    const { model } = await plan(teacher, quantize({ default: method })).run(data).result, paths = model.blocks().flatMap((b) => b.linears)
    const prepared = await prepare(model, { default: lsq(format), rules: [["embed_tokens", "keep"], ["lm_head", "keep"]] }), again = await convert(prepared)
    for (const path of paths) {
      const want = model.weights[path]!.parts(), own = again.weights[path]!.parts()
      expect(await bits(prepared.weights[path]!.dense())).toEqual(await bits(model.weights[path]!.dense()))
      expect(Object.keys(own)).toEqual(Object.keys(want))
      for (const name of Object.keys(want)) expect(await own[name]!.raw(), `${path} ${name}`).toEqual(await want[name]!.raw())
      expect(prepared.weights[path]!.parts().steps!.dtype).toBe("f32")
    }
    // Another format, or other groups: steps are found anew.
    const other = await prepare(model, { default: lsq(int(4, { group: 8 })), rules: [["embed_tokens", "keep"]] })
    expect(await bits(other.weights[paths[0]!]!.parts().steps!)).not.toEqual(await bits(prepared.weights[paths[0]!]!.parts().steps!))
  }
})

test("what names nothing is refused", async () => {
  const model = smallModel("llama")
  await expect(prepare(model, { default: int(4), rules: [["lm_heat", "keep"]] })).rejects.toThrow("prepare: no matrix is left for the rule lm_heat")
  await expect(prepare(model, {})).rejects.toThrow("prepare: every matrix is kept")
  await expect(convert(model)).rejects.toThrow("convert: the model has no matrix that was prepared")
  expect(() => lsq(nf4() as never)).toThrow("lsq: steps are learned for formats made by int(), not for nf4")
})
