import { currentDevice } from "@thimble/core"
import { open as openDevice } from "@thimble/kernels"
import { loadModel } from "@thimble/models"
import { timed, type Engine } from "./runner.ts"

export async function open(threads: number): Promise<Engine> {
  await openDevice("wasm", { threads })
  return {
    async load(path) {
      // As llama.cpp multiplies: what meets packed weights is rounded to 8 bits.
      const model = await loadModel(path, { activations: "int8" })
      let held = 0
      async function* watched<T>(tokens: AsyncIterable<T>): AsyncGenerator<T> {
        for await (const token of tokens) {
          held = Math.max(held, currentDevice().used?.() ?? NaN)
          yield token
        }
      }
      return {
        generate: (prompt, tokens) => timed(watched(model.generate(prompt, { maxTokens: tokens, stopTokens: [] }).tokens()), tokens),
        held: () => held,
      }
    },
  }
}
