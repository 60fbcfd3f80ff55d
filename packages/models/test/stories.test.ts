import { readFileSync } from "node:fs"
import { compile, realize, referenceDevice, tensorsOf, useDevice, type Device, type Tensor } from "@thimble/core"
import { devices, open } from "@thimble/kernels"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { createCache, loadModel, type Cache } from "../src/index.ts"

const folder = new URL("../../formats/fixtures/stories260K/", import.meta.url), own = new URL("../fixtures/stories260K/", import.meta.url)

const webgpu = (await devices()).find((d) => d.name === "webgpu")!
if (!webgpu.available && process.env.CI === undefined) test.skip(`webgpu: ${webgpu.reason}`, () => {})

describe.each(["wasm", ...(webgpu.available || process.env.CI !== undefined ? ["webgpu"] : [])])("on %s", (name) => {
  let device: Device
  beforeAll(async () => void (device = await open(name)))
  afterAll(async () => {
    useDevice(referenceDevice())
    await device.close()
  })

  test("stories260K tells the story of its readme, one program for all positions", async () => {
    const model = await loadModel(new URL("stories260K.bin", folder), { tokenizer: new URL("tok512.model", folder) })
    expect([model.size, model.bytes, model.config.heads, model.config.kvHeads]).toEqual([260032, 4 * 260032, 8, 4])
    const step = compile((cache: Cache, id: Tensor, position: Tensor) => {
      const { logits, cache: grown } = model.step(id.reshape([1, 1]), cache, { position })
      return { next: logits.reshape([-1]).argmax(), cache: grown }
    }, { donate: [0] })
    let cache = createCache(model, { length: 257 }), id = model.config.bos!
    await realize(...tensorsOf(cache))
    const told: number[] = []
    for (let position = 0; position < 256; position++) {
      const made = await step(cache, BigInt(id), BigInt(position))
      cache = made.cache
      id = await made.next.item()
      if (id === model.config.bos) break
      told.push(id)
    }
    expect(model.tokenizer!.decode(told)).toBe(readFileSync(new URL("greedy.txt", own), "utf8"))
    expect(step.programs).toBe(1)
    // Drivers that compute on the CPU take long.
  }, 120_000)
})
