import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { memory, type Device } from "@thimble/core"
import { open } from "@thimble/kernels"
import { expect, test } from "vitest"
import { generate, type Model } from "../src/index.ts"
import { smallModel } from "./random-model.ts"

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

/** Generates from a model, drops it, and tells what the device still holds: its scratch memory. */
async function afterOne(device: Device): Promise<number> {
  let model: Model | undefined = smallModel("llama")
  await generate(model, [1, 2, 3, 4, 5, 6, 7, 8, 9], { maxTokens: 3 }).done()
  model = undefined
  const { used } = device, most = used!()
  for (let n = 0, last = most; n < 10; n = used!() < last ? 0 : n + 1) {
    last = used!()
    collect()
    await new Promise((go) => setTimeout(go, 5))
  }
  expect(used!()).toBeLessThan(most)
  return used!()
}

test("a model that was dropped takes the programs that generated from it along", async () => {
  const device = await open("wasm", { threads: 1 }), scratch = await afterOne(device)
  expect(await afterOne(device)).toBe(scratch)
  expect(memory().bytes).toBe(0)
})
