import { compile, crossEntropy, denseWeight, realize, referenceDevice, tensor, tensorsOf, useDevice, valueAndGrad, type Device, type Tensor } from "@thimble/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { kernelDevices } from "../../conformance/src/devices.ts"
import { loadModel, type Model } from "../src/index.ts"

// The model that the project ships, on every device: in Node from the disk, on a page from the page's server.
const folder = typeof document === "object" ? new URL("/models/demo/", document.baseURI) : new URL("../../../models/demo/", import.meta.url)
const prompt = "My fellow"
/** What it goes on with, token by token. Each was ahead of the next by 0.11 or more, where devices differ by 1e-5. */
const story = ["-", "c", "itiz", "ens", " of", " the", " United", " States", ",", " and", " the", " people", " of", " the", " United", " States"]
/** How many tokens a slow device is asked for. */
const fewer: Readonly<Record<string, number>> = { reference: 4 }

/** A compiler of shaders for a driver without a GPU takes its time. */
const patience = 180_000
/** How far gradients may be apart, as a share of the largest element of each: sums of four layers, in other orders. */
const bound = 5e-5

interface Step { readonly loss: number; readonly gradients: readonly Float32Array[] }
/** The loss of a few tokens, and its gradients by all parameters, in f32: those of bf16 would hide differences in their rounding. */
async function trainingStep(device: Device): Promise<Step> {
  useDevice(device)
  const stored = await loadModel(folder)
  const wide = { ...Object.fromEntries(Object.entries(stored.weights).map(([path, w]) => [path, denseWeight(w.dense())])), ...Object.fromEntries(Object.entries(stored.vectors).map(([name, v]) => [name, v.cast("f32")])) }
  await realize(...tensorsOf(wide))
  const model = stored.with(wide), ids = model.tokenizer!.encode(prompt + story.join(""), { wrap: true }), count = ids.length - 1
  const step = compile((m: Model, given: Tensor, next: Tensor) => valueAndGrad((m: Model) => crossEntropy(m.forward(given).reshape([count, m.config.vocabulary]), next))(m))
  const { value, grads } = await step(model, tensor(Int32Array.from(ids.slice(0, count)), { shape: [1, count] }), tensor(Int32Array.from(ids.slice(1))))
  const gradients = await Promise.all(tensorsOf(grads).map(async (g) => (await g.data()) as Float32Array))
  const loss = await value.item()
  for (const t of tensorsOf([stored, wide, value, grads])) t.dispose()
  step.dispose()
  return { loss, gradients }
}
/** The largest difference from these values, as a share of their largest. */
function distance(got: Float32Array, want: Float32Array): number {
  expect(got.length).toBe(want.length)
  const most = want.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
  return want.reduce((far, v, i) => Math.max(far, Number.isNaN(got[i]) ? Infinity : Math.abs(got[i]! - v)), 0) / most
}
/** The same step on the wasm device, which all others are compared with. */
async function onWasm(): Promise<Step> {
  const device = await kernelDevices.find((d) => d.name === "wasm")!.open()
  const step = await trainingStep(device)
  await device.close()
  return step
}
let wasms: Promise<Step> | undefined

describe.each(kernelDevices)("the demo model on $name", ({ name, open }) => {
  let device: Device
  beforeAll(async () => void (device = await open()))
  afterAll(async () => {
    useDevice(referenceDevice())
    await device.close()
  })
  const tokens = fewer[name] ?? story.length

  test(`goes on as everywhere, for ${tokens} tokens`, async () => {
    useDevice(device)
    const model = await loadModel(folder)
    const { text } = await model.generate(prompt, { maxTokens: tokens, temperature: 0 }).done()
    for (const t of tensorsOf(model)) t.dispose()
    expect(text).toBe(story.slice(0, tokens).join(""))
  }, patience)
  // The interpreter would take minutes.
  if (name !== "reference" && name !== "wasm") test(`has the gradients of wasm's training step, to ${bound} of each tensor's largest element`, async () => {
    const want = await (wasms ??= onWasm())
    const got = await trainingStep(device)
    expect(got.gradients.length).toBe(want.gradients.length)
    expect(Math.abs(got.loss - want.loss)).toBeLessThan(1e-5)
    const far = got.gradients.map((g, i) => distance(g, want.gradients[i]!))
    expect(Math.max(...far)).toBeLessThan(bound)
  }, patience)
})
