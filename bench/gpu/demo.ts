// The demo model on the adapter and on the CPU: the same greedy text, and nearly the same gradients. Run where models/demo is.
import { existsSync } from "node:fs"
import { compile, crossEntropy, denseWeight, realize, tensor, tensorsOf, useDevice, valueAndGrad, type Device, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { loadModel, type Model } from "@thimble/models"
import type { Part } from "./part.ts"

const folder = process.env.DEMO ?? "models/demo"

interface Seen { readonly text: string; readonly loss: number; readonly gradients: readonly { readonly name: string; readonly values: Float32Array }[]; readonly secondsOfText: number }

async function see(device: Device, tokens: number): Promise<Seen> {
  useDevice(device)
  const stored = await loadModel(folder), length = 64
  // Gradients are of the type of what they are of: f32, for bf16 would hide differences in its rounding.
  const wide = { ...Object.fromEntries(Object.entries(stored.weights).map(([path, w]) => [path, denseWeight(w.dense())])), ...Object.fromEntries(Object.entries(stored.vectors).map(([name, v]) => [name, v.cast("f32")])) }
  await realize(...tensorsOf(wide))
  const model = stored.with(wide)
  let text = ""
  const start = performance.now()
  for await (const piece of model.generate("It was a dark night, and", { maxTokens: tokens, temperature: 0 })) text += String(piece)
  const secondsOfText = (performance.now() - start) / 1e3
  const ids = model.tokenizer!.encode("Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, and nothing particular to interest me on shore, I thought I would sail about a little and see the watery part of the world. It is a way I have of driving off the spleen, and regulating the circulation.").slice(0, length + 1)
  const count = ids.length - 1, given = tensor(Int32Array.from(ids.slice(0, count)), { shape: [1, count] }), next = tensor(Int32Array.from(ids.slice(1)), { shape: [count] })
  const step = compile((m: Model, given: Tensor, next: Tensor) => valueAndGrad((m: Model) => crossEntropy(m.forward(given).reshape([count, m.config.vocabulary]), next))(m))
  const { value, grads } = await step(model, given, next)
  const gradients = await Promise.all(tensorsOf(grads).map(async (g, i) => ({ name: `${i} [${g.shape}]`, values: Float32Array.from((await g.data()) as ArrayLike<number>) })))
  return { text, loss: Number(await value.item()), gradients, secondsOfText }
}

export const demo: Part = {
  name: "the demo model here and on the CPU",
  seconds: 60,
  async run({ device, row, tiny }) {
    if (!existsSync(folder)) return row("the demo model is not here", { why: `there is no ${folder}; DEMO names the folder` })
    const tokens = tiny ? 8 : 64, cpu = await open("wasm")
    const want = await see(cpu, tokens).finally(() => useDevice(device)), got = await see(device, tokens)
    await cpu.close()
    // Largest difference of a gradient, as a share of that tensor's largest element.
    const shares = got.gradients.map(({ name, values }, i) => {
      const other = want.gradients[i]!.values
      let most = 0, difference = 0
      values.forEach((v, k) => { most = Math.max(most, Math.abs(other[k]!)); difference = Math.max(difference, Number.isNaN(v) ? Infinity : Math.abs(v - other[k]!)) })
      return { name, share: difference / most }
    })
    const worst = shares.reduce((a, b) => (b.share > a.share ? b : a))
    row("greedy text", { same: String(got.text === want.text), tokens, "s here": got.secondsOfText, "s on the CPU": want.secondsOfText, text: got.text.slice(0, 80) })
    row("gradients", { loss: got.loss, "loss on the CPU": want.loss, tensors: shares.length, "largest difference, of the largest element": worst.share, of: worst.name })
  },
}
