import type { Tensor } from "@thimble/core"
import { isLazy, type Model } from "@thimble/models"

const sha256 = async (data: Uint8Array<ArrayBuffer>): Promise<Uint8Array> => new Uint8Array(await crypto.subtle.digest("SHA-256", data))

/** SHA-256 of what a model computes with: its config, and the hashes of its tensors by name. */
export async function hashOfModel(model: Model): Promise<string> {
  const lines = [JSON.stringify(model.config)]
  const add = async (name: string, t: Tensor): Promise<void> => {
    const raw = await t.raw(), bytes = new Uint8Array(raw.buffer as ArrayBuffer, raw.byteOffset, raw.byteLength)
    lines.push(`${name} ${t.dtype} ${t.shape.join()} ${hex(await sha256(bytes))}`)
  }
  // One matrix at a time: those that are still in a file are read for this, and released.
  for (const [path, from] of Object.entries(model.weights)) {
    const weight = isLazy(from) ? await from.load() : from
    for (const [part, t] of Object.entries(weight.parts())) {
      await add(`${path}.${part}`, t)
      if (weight !== from) t.dispose()
    }
  }
  for (const [name, t] of Object.entries(model.vectors)) await add(name, t)
  return hex(await sha256(new TextEncoder().encode(lines.join("\n")) as Uint8Array<ArrayBuffer>))
}

export const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("")
