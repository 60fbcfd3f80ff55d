import type { Tensor } from "@thimble/core"
import { isLazy, sha256, type Model } from "@thimble/models"

/** SHA-256 of what a model computes with: its config, and the hashes of its tensors by name. */
export async function hashOfModel(model: Model): Promise<string> {
  const lines = [JSON.stringify(model.config)]
  const add = async (name: string, t: Tensor): Promise<void> => void lines.push(`${name} ${t.dtype} ${t.shape.join()} ${await sha256(await t.raw())}`)
  // One matrix at a time: those that are still in a file are read for this, and released.
  for (const [path, from] of Object.entries(model.weights)) {
    const weight = isLazy(from) ? await from.load() : from
    for (const [part, t] of Object.entries(weight.parts())) {
      await add(`${path}.${part}`, t)
      if (weight !== from) t.dispose()
    }
  }
  for (const [name, t] of Object.entries(model.vectors)) await add(name, t)
  return sha256(lines.join("\n"))
}
