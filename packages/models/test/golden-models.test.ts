import { readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { openSafetensors } from "@thimble/formats"
import { open } from "@thimble/kernels"
import { beforeAll, describe, expect, test } from "vitest"
import { loadModel, type Model } from "../src/index.ts"

const folder = fileURLToPath(new URL("../fixtures/models/", import.meta.url))
export const names = readdirSync(folder)

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})

/** The largest difference from what `generate.py` computed in float64. */
async function difference(model: Model, name: string): Promise<number> {
  await using answer = await openSafetensors(`${folder}${name}/answer.safetensors`)
  const ids = await answer.tensor("ids"), logits = await (await answer.tensor("logits")).data()
  const own = await model.forward(ids.reshape([1, -1])).data()
  expect(own.length).toBe(logits.length)
  return Math.max(...own.map((v, i) => Math.abs(v - logits[i]!)))
}

describe.each(names)("%s", (name) => {
  test("answers as a forward pass written apart from it, within 1e-4", async () => {
    expect(await difference(await loadModel(folder + name), name)).toBeLessThan(2e-5)
  })
})
