import { ModuleBuilder } from "../emit/assembler.ts"
import type { Features } from "../template/holes.ts"

/** Finds out what the engine offers, switching on what it has behind flags (Node only). */
export async function detectFeatures(revectorize?: boolean): Promise<Features> {
  const node = typeof process === "object" && process.versions?.node && !("Bun" in globalThis) && !("Deno" in globalThis)
  let wide = false
  if (node) {
    const v8 = await import("node:v8")
    if (!hasRelaxed()) v8.setFlagsFromString("--experimental-wasm-relaxed-simd")
    if (revectorize ?? Number(process.versions.node.split(".")[0]) >= 24) {
      v8.setFlagsFromString("--experimental-wasm-revectorize")
      wide = true
    }
  }
  return { relaxed: hasRelaxed(), wide }
}

function hasRelaxed(): boolean {
  const m = new ModuleBuilder()
  m.function(["v128"], ["v128"], (f, x) => {
    f.get(x!)
    f.get(x!)
    f.get(x!)
    f.op("f32x4.relaxed_madd")
  })
  return WebAssembly.validate(m.finish())
}
