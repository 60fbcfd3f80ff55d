// Where the device computes beside the host, the next token is asked for before the last is read: the text is the same.
import { memory, useDevice, type Device } from "@thimble/core"
import { open } from "@thimble/kernels"
import { beforeAll, beforeEach, describe, expect, test } from "vitest"
import { generate, generateBatch, type GenerateOptions, type Model } from "../src/index.ts"
import { smallModel } from "./random-model.ts"

let plain: Device, queued: Device, programs = 0
beforeAll(async () => {
  plain = await open("wasm", { threads: 1 })
  queued = { ...plain, queued: true, run: (calls, program) => (programs++, plain.run(calls, program)) }
})
beforeEach(() => void (programs = 0))

const ids = (n: number, seed = 0): number[] => Array.from({ length: n }, (_, i) => (i * 7 + seed * 11 + 3) % 40)
/** What a model says on each of the two devices. */
async function both<T>(say: (model: Model) => Promise<T>, name = "llama"): Promise<[plain: T, queued: T]> {
  const on = async (device: Device): Promise<T> => {
    useDevice(device)
    const model = smallModel(name), before = memory().bytes
    const said = await say(model)
    // Nothing that was asked for ahead is left.
    expect(memory().bytes).toBe(before)
    return said
  }
  return [await on(plain), await on(queued)]
}

describe("the most probable tokens", () => {
  test.each(["llama", "mistral", "gemma2", "gpt2"])("of %s", async (name) => {
    for (const n of [1, 7, 30]) {
      const [want, got] = await both((m) => generate(m, ids(n), { maxTokens: 12 }).done(), name)
      expect(got).toEqual(want)
    }
  }, 60_000)
  test("side by side, some ending before others", async () => {
    const prompts = [ids(3, 1), ids(17, 2), ids(1, 3)]
    const [all] = await both((m) => generateBatch(m, prompts, { maxTokens: 10 }).done())
    const stopTokens = [all[1]!.ids[4]!]
    const [want, got] = await both((m) => generateBatch(m, prompts, { maxTokens: 10, stopTokens }).done())
    expect(got).toEqual(want)
    expect(got[1]!.finish).toBe("end")
  })
  test("up to the end of the context, and of one token", async () => {
    for (const options of [{ maxTokens: 1 }, { maxTokens: 1000 }]) {
      const [want, got] = await both((m) => generate(m, ids(20), options).done())
      expect(got).toEqual(want)
    }
  })
  test("until somebody reads no further, or aborts", async () => {
    await both(async (m) => {
      for await (const { id } of generate(m, ids(5), { maxTokens: 30 }).tokens()) if (id >= 0) break
    })
    await both(async (m) => {
      const stop = new AbortController()
      let n = 0
      const reading = (async () => {
        for await (const _ of generate(m, ids(5), { maxTokens: 30, signal: stop.signal }).tokens()) if (++n === 3) stop.abort()
      })()
      await expect(reading).rejects.toMatchObject({ name: "AbortError" })
    })
  })
  test("and what is drawn, or penalised, or changed by a processor, is still chosen by the host", async () => {
    const options: GenerateOptions[] = [{ temperature: 0.8, seed: 3 }, { repetitionPenalty: 1.5 }, { processors: [(logits) => void logits.fill(-Infinity, 5)] }]
    for (const o of options) {
      const [want, got] = await both((m) => generate(m, ids(6), { maxTokens: 8, ...o }).done())
      expect(got).toEqual(want)
    }
  })
})
test("one more than is taken is asked for, and no more", async () => {
  useDevice(queued)
  const model = smallModel("llama"), { ids: all } = await generate(model, ids(4), { maxTokens: 8 }).done()
  const count = async (options: GenerateOptions): Promise<number> => {
    programs = 0
    await generate(model, ids(4), options).done()
    return programs
  }
  const at = all.findIndex((id, i) => i >= 3 && all.indexOf(id) === i)
  expect(at).toBeGreaterThan(2)
  const whole = await count({ maxTokens: at + 1 }), stopped = await count({ maxTokens: 8, stopTokens: [all[at]!] })
  expect(stopped - whole).toBeLessThanOrEqual(1)
})
