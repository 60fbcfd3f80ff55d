import { denseWeight, grad, memory, quantizeWeight, randn, realize, tensor, type Tensor, type Weight, compile } from "@thimble/core"
import { ggml } from "@thimble/formats"
import { open } from "@thimble/kernels"
import { beforeAll, describe, expect, test } from "vitest"
import { chunked, forwardKL, hidden, labels, jensenShannon, softTargets, sum, topK, topOf, type Loss, type View } from "../src/index.ts"

let final: Tensor, taught: Tensor, matrix: Tensor, teaching: Tensor, ids: Tensor
beforeAll(async () => {
  await open("wasm", { threads: 1 })
  ;[final, taught] = [randn([rows, 32], { seed: 1 }), randn([rows, 32], { seed: 2 })]
  ;[matrix, teaching] = [randn([classes, 32], { seed: 3 }).mul(0.3), randn([classes, 32], { seed: 4 }).mul(0.3)]
  ids = tensor(Int32Array.from([3, 1, -100, 12, 0, 5, 2]), { shape: [rows] })
  await realize(final, taught, matrix, teaching)
})
const used = (): number => memory().devices.wasm!.used!
const [rows, classes] = [7, 13]

/** The same, with logits that are there as a whole. */
function dense(view: View): View {
  const logits = (seen: View["student"]): Tensor => seen.head!.weight.apply(seen.final!)
  return { ...view, student: { logits: logits(view.student) }, ...(view.teacher?.head && { teacher: { logits: logits(view.teacher) } }) }
}
const closeTo = async (a: Tensor, b: Tensor): Promise<void> => {
  const [x, y] = [await a.data(), await b.data()], size = Math.max(1e-2, ...y.map(Math.abs))
  expect(Math.max(...x.map((v, i) => Math.abs(v - y[i]!)))).toBeLessThan(3e-6 * size)
}

describe("in chunks", () => {
  const views: Record<string, () => View> = {
    "dense heads": () => ({ student: { final, head: { weight: denseWeight(matrix) } }, teacher: { final: taught, head: { weight: denseWeight(teaching) } }, labels: ids }),
    "a teacher with logits only": () => ({ student: { final, head: { weight: denseWeight(matrix) } }, teacher: { logits: denseWeight(teaching).apply(taught) }, labels: ids }),
    "other positions count than have labels": () => ({ student: { final, head: { weight: denseWeight(matrix) } }, teacher: { final: taught, head: { weight: denseWeight(teaching) } }, labels: ids, mask: tensor(Int32Array.from([1, 1, 1, 0, 1, 1, 1]), { shape: [rows] }) }),
    "all positions count": () => ({ student: { final, head: { weight: denseWeight(matrix) } }, teacher: { final: taught, head: { weight: denseWeight(teaching) } } }),
  }
  const kinds: Record<string, Loss> = { softTargets: softTargets({ temperature: 2 }), jensenShannon: jensenShannon(), labels: labels(), both: sum([0.7, softTargets()], [0.3, labels()]), topK: forwardKL({ restrict: topK(4) }) }
  const table = Object.keys(views).flatMap((v) => Object.keys(kinds).filter((k) => v !== "all positions count" || !kinds[k]!.needs.labels).flatMap((k) => [1, 3, 7, 100].map((n) => [v, k, n] as const)))
  test.each(table)("%s, %s: %i positions at a time are the same loss, and the same gradients", async (v, k, positions) => {
    const view = views[v]!(), loss = kinds[k]!
    const whole = loss.compute({ ...dense(view), ...(view.teacher?.logits && { teacher: view.teacher }) }), parts = chunked(loss, { positions }).compute(view)
    await closeTo(parts, whole)
    const [a, b] = [grad(parts, [final, matrix]), grad(whole, [final, matrix])]
    await closeTo(a[0]!, b[0]!)
    await closeTo(a[1]!, b[1]!)
    // None for the teacher.
    for (const g of grad(parts, [taught, teaching])) expect(Math.max(...(await g.data()).map(Math.abs))).toBe(0)
  })
  test("a teacher of stored answers, and packed heads", async () => {
    const packed: Weight = quantizeWeight(ggml.Q8_0, (await teaching.data()) as Float32Array, [classes, 32])
    const view: View = { student: { final, head: { weight: denseWeight(matrix) } }, teacher: { final: taught, head: { weight: packed } }, labels: ids }
    const loss = softTargets({ temperature: 2 })
    await closeTo(chunked(loss, { positions: 2 }).compute(view), loss.compute({ student: { logits: final.matmul(matrix.T) }, teacher: { logits: packed.apply(taught) }, labels: ids }))
    const top = topOf(taught.matmul(teaching.T), 5), kept = forwardKL({ restrict: topK(5) })
    await closeTo(chunked(kept, { positions: 2 }).compute({ student: view.student, teacher: { top } }), kept.compute({ student: { logits: final.matmul(matrix.T) }, teacher: { top } }))
  })
  test("losses of other things are refused", () => {
    expect(() => chunked(sum([1, softTargets()], [1, hidden()]))).toThrow(/needs hidden.*; only losses of logits and labels go position by position/)
    expect(() => chunked(labels(), { positions: 0 })).toThrow("positions must be a whole number ≥ 1, got 0")
  })
})

test("logits of a vocabulary of 128k never exist whole, forward or backward: twice the positions need no more memory", async () => {
  const [width, vocabulary, positions] = [16, 131072, 8], head = randn([vocabulary, width], { seed: 3 })
  await realize(head)
  const loss = chunked(sum([0.5, softTargets({ temperature: 2 })], [0.5, labels()]), { positions })
  const peak = async (n: number): Promise<number> => {
    const x = randn([n, width], { seed: 1 }), target = randn([n, width], { seed: 2 }), right = tensor(Int32Array.from({ length: n }, (_, i) => i * 500), { shape: [n] })
    await realize(x, target, right)
    const step = compile((x: Tensor, head: Tensor, target: Tensor, right: Tensor) => {
      const value = loss.compute({ student: { final: x, head: { weight: denseWeight(head) } }, teacher: { final: target, head: { weight: denseWeight(head) } }, labels: right })
      return { value, grads: grad(value, [x, head]) }
    })
    const before = used(), made = await step(x, head, target, right), most = used() - before
    expect(Number.isFinite(await made.value.item())).toBe(true)
    step.dispose()
    for (const t of [made.value, ...made.grads, x, target, right]) t.dispose()
    return most
  }
  const [some, twice] = [await peak(96), await peak(192)]
  // Some blocks of 8 positions' logits, 4.2 MB each, and some gradients of the head, 8.4 MB each; all logits of one model are 101 MB.
  const block = 4 * positions * vocabulary, gradient = 4 * vocabulary * width
  expect(twice - some).toBeLessThan(block)
  expect(twice).toBeLessThan(6 * block + 4 * gradient)
  head.dispose()
})
