import fc from "fast-check"
import { adamW, compile, crossEntropy, realize, tensor, tensorsOf, valueAndGrad, zeros, type Tensor } from "@thimble/core"
import { beforeAll, describe, expect, test } from "vitest"
import { open } from "../../kernels/src/index.ts"
import type { Model } from "../../models/src/index.ts"
import { smallModel } from "../../models/test/random-model.ts"
import { csr, cubicSchedule, keepOf, lotteryTicket, magnitude, maskModel, masksOf, movement, movementStep, plan, prune, pruned, regrow, regrowSchedule, settleMasks, unstructured, type MaskedWeight } from "../src/index.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))
const text = (seed: number): Tensor => tensor(Int32Array.from({ length: 48 }, (_, i) => (seed + (i % 12) * (1 + (Math.floor(i / 12) % 3))) % 40), { shape: [4, 12] })
const loss = (m: Model, ids: Tensor): Tensor => crossEntropy(m.forward(ids.slice([], [0, 11])), ids.slice([], [1, 12]))

async function train(model: Model, steps: number): Promise<{ model: Model; losses: number[] }> {
  const optimizer = adamW({ rate: 0.01, weightDecay: 0.1 }), step = compile((m: Model, state: ReturnType<typeof optimizer.init>, ids: Tensor) => {
    const { value, grads } = valueAndGrad(loss)(m, ids), { parameters, state: next } = optimizer.update(m, grads, state)
    return { model: parameters, state: next, value }
  })
  let state = optimizer.init(model)
  const losses: number[] = []
  await realize(...tensorsOf([state, model]))
  for (let i = 0; i < steps; i++) {
    const made = await step(model, state, text(i % 6)) as { model: Model; state: typeof state; value: Tensor }
    ;({ model, state } = made)
    losses.push(await made.value.item())
  }
  step.dispose()
  return { model, losses }
}
const path = "model.layers.0.mlp.up_proj"
const dense = async (m: Model, p = path): Promise<Float32Array> => (await m.weights[p]!.dense().data()) as Float32Array

describe("masks", () => {
  test.each([["unstructured", unstructured(0.6), csr()], ["2:4", keepOf(2, 4), "f32"]] as const)("%s: what has gone stays zero while a model is tuned, the loss falls, and it is stored as it computes", async (_n, pattern, store) => {
    const small = (await plan(smallModel("llama"), prune({ default: pruned({ score: magnitude(), pattern }) })).run().result).model, paths = plan(smallModel("llama"), prune({ default: pruned({ score: magnitude(), pattern }) })).stages[0]!.entries.map((e) => e.path)
    const masks = await masksOf(small, paths), { model: tuned, losses } = await train(maskModel(small, masks), 40)
    expect(losses.slice(-5).reduce((a, b) => a + b)).toBeLessThan(0.9 * losses.slice(0, 5).reduce((a, b) => a + b))
    for (const p of paths) (await dense(tuned, p)).forEach((v, i) => masks[p]![i] === 0 && expect(v).toBe(0))
    expect((await dense(tuned)).some((v) => v !== 0)).toBe(true)
    expect(await dense(tuned)).not.toEqual(await dense(small))
    const settled = await settleMasks(tuned, store)
    expect(await dense(settled)).toEqual(await dense(tuned))
    expect(await masksOf(settled, paths)).toEqual(masks)
  })
  test("a gradient reaches what has gone only where that is asked for", async () => {
    const model = smallModel("llama"), mask = Uint8Array.from({ length: 24 * 16 }, (_, i) => i % 2)
    for (const gradient of ["kept", "all"] as const) {
      const masked = maskModel(model, { [path]: mask }, { gradient }), { grads } = valueAndGrad(loss)(masked, text(1)), g = (await (grads.weights[path] as MaskedWeight).parts().values!.data()) as Float32Array
      expect(g.some((v, i) => i % 2 === 1 && v !== 0)).toBe(true)
      expect(g.some((v, i) => i % 2 === 0 && v !== 0)).toBe(gradient === "all")
    }
  })
})

describe("schedules", () => {
  test("the cubic one begins and ends where it should, rises, and slower and slower", () => fc.assert(fc.property(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 2, max: 50 }), fc.double({ min: 0, max: 0.5, noNaN: true }), fc.double({ min: 0.6, max: 1, noNaN: true }), (begin, steps, from, to) => {
    const at = cubicSchedule({ from, to, begin, steps }), all = Array.from({ length: steps + 1 }, (_, i) => at(begin + i))
    expect(at(0)).toBeCloseTo(from, 12)
    expect(at(begin + steps + 9)).toBe(to)
    all.forEach((s, i) => i > 1 && expect(s - all[i - 1]!).toBeLessThanOrEqual(all[i - 1]! - all[i - 2]! + 1e-12))
  })))
  test("what regrows becomes less, down to nothing", () => {
    const at = regrowSchedule({ share: 0.3, steps: 10 })
    expect([at(0), at(5), at(10)].map((v) => Number(v.toFixed(12)))).toEqual([0.3, 0.15, 0])
  })
})

test("RigL: as many are there as before; the smallest went, those with the largest gradients came, at zero", () => fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 99 }), fc.boolean(), fc.integer({ min: -99, max: 99 })), { minLength: 1, maxLength: 40 }), fc.constantFrom(0, 0.3, 1), (all, share) => {
  const values = Float32Array.from(all, ([v, m]) => (m ? v : 0)), mask = Uint8Array.from(all, ([, m]) => Number(m)), gradient = Float32Array.from(all, ([, , g]) => g)
  const next = regrow(values, mask, gradient, share), count = (m: Uint8Array): number => m.reduce((n, k) => n + k, 0)
  expect(count(next.mask)).toBe(count(mask))
  const gone = [...mask.keys()].filter((i) => mask[i] && !next.mask[i]), come = [...mask.keys()].filter((i) => !mask[i] && next.mask[i])
  expect(gone).toHaveLength(next.changed)
  for (const i of come) expect(next.values[i]).toBe(0)
  for (const i of gone) mask.forEach((m, j) => m && next.mask[j] && expect(values[j]).toBeGreaterThanOrEqual(values[i]!))
  for (const i of come) mask.forEach((m, j) => !m && !next.mask[j] && expect(Math.abs(gradient[i]!)).toBeGreaterThanOrEqual(Math.abs(gradient[j]!)))
})))

test("movement: what moves away from zero stays", async () => {
  let scores = zeros([1, 4])
  // A gradient against the sign of a weight makes it larger.
  for (const g of [[-1, 1, 0.5, -0.5], [-1, 1, 0.5, -0.5]]) scores = movementStep(scores, tensor([[2, 2, -3, -3]]), tensor([g]))
  const found = (await scores.data()) as Float32Array
  expect([...found]).toEqual([4, -4, 3, -3])
  const matrix = { path: "m", values: Float32Array.of(2, 2, -3, -3), shape: [1, 4] as const }
  expect([...unstructured(0.5).kept(await movement({ m: found }).of(matrix, undefined, undefined), [1, 4])]).toEqual([1, 0, 1, 0])
})

test("a lottery ticket has the weights it began with, as many as were asked for, and what had gone stays gone", async () => {
  const start = smallModel("llama"), matrices = [path, "model.layers.1.mlp.down_proj"], seen: number[] = []
  const { model, masks } = await lotteryTicket(start, { left: 0.2, rounds: 3, matrices, async train(m, round) {
    expect(round).toBe(seen.length + 1)
    seen.push((await masksOf(m, matrices))[path]!.reduce((n, k) => n + k, 0))
    return (await train(m, 4)).model
  } })
  const size = 2 * 24 * 16
  expect(Object.values(masks).flatMap((m) => [...m]).reduce((n, k) => n + k, 0)).toBe(size - Math.floor(0.8 * size))
  expect(seen[0]).toBe(24 * 16)
  expect(seen[1]).toBeLessThan(seen[0]!)
  for (const p of matrices) {
    const before = await dense(start, p)
    ;(await dense(model, p)).forEach((v, i) => expect(v).toBe(masks[p]![i] ? before[i] : 0))
  }
})
