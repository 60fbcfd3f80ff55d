import { currentDevice } from "@thimble/core"
import { open as openDevice } from "@thimble/kernels"
import { loadModel } from "@thimble/models"
import { timed, type Runner } from "./runner.ts"

export async function open(path: string, threads: number): Promise<Runner> {
  await openDevice("wasm", { threads })
  // As llama.cpp multiplies: what meets packed weights is rounded to 8 bits.
  const model = await loadModel(path, { activations: "int8" })
  return {
    generate: (prompt, tokens) => timed(model.generate(prompt, { maxTokens: tokens, stopTokens: [] }).tokens(), tokens),
    held: () => currentDevice().used?.() ?? NaN,
  }
}
