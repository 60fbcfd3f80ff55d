import { ModuleBuilder } from "../emit/assembler.ts"
import type { Features } from "../template/holes.ts"
import { emitTile, tileShape } from "../template/tile.ts"
import { inNode, nodeModule } from "./node.ts"

const revectorizer = (on: boolean): string => `--${on ? "" : "no-"}experimental-wasm-revectorize`
let probed: boolean | undefined

/**
 * Finds out what the engine offers, and in Node decides on the revectorizer, which V8 keeps behind a flag: it pairs
 * 128-bit operations into 256-bit ones. It is experimental: unless told, it is used only if a probe of some 20 ms, once
 * per process, shows the same bits and a gain.
 */
export async function detectFeatures(revectorize?: boolean): Promise<Features> {
  const simd = relaxedSimd()
  if (!hasRevectorizer()) return { ...simd, wide: false }
  const { setFlagsFromString } = await nodeModule("node:v8")
  const wide = revectorize ?? (probed ??= probe(setFlagsFromString))
  setFlagsFromString(revectorizer(wide))
  return { ...simd, wide }
}

/** Node is built with it for some processors only. Before 24 it gave wrong code. */
function hasRevectorizer(): boolean {
  if (!inNode) return false
  const { variables } = process.config as { readonly variables?: Readonly<Record<string, unknown>> }
  return Number(process.versions.node.split(".")[0]) >= 24 && variables?.v8_enable_wasm_simd256_revec === 1
}

function relaxedSimd(): Omit<Features, "wide"> {
  const m = new ModuleBuilder()
  m.function([], ["i32"], (f) => {
    f.i32(1); f.op("i8x16.splat")
    f.i32(-128); f.op("i8x16.splat", "i16x8.relaxed_dot_i8x16_i7x16_s")
    f.lane("i16x8.extract_lane_s", 0)
  }, "dot")
  const bytes = m.finish()
  if (!WebAssembly.validate(bytes)) return { relaxed: false }
  const { dot } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as { dot(): number }
  return { relaxed: true, unsignedDot: dot() > 0 }
}

/** Runs one tile of the matrix product both ways, compiled by the optimizing compiler at once: when it would replace the quick one's code is chance. */
function probe(set: (flag: string) => void): boolean {
  set("--no-liftoff")
  try {
    set(revectorizer(false))
    const narrow = timeTile(1)
    set(revectorizer(true))
    const wide = timeTile(2)
    return wide.bits === narrow.bits && wide.time < 0.8 * narrow.time
  } finally {
    set("--liftoff")
  }
}

/** `salt` makes the module's bytes differ: V8 reuses the code of equal modules. */
function timeTile(salt: number): { time: number; bits: string } {
  const k = 128, a = 1024, b = 16384, sums = 65536
  const { relaxed } = relaxedSimd(), tile = tileShape({ relaxed, wide: true })
  const m = new ModuleBuilder()
  const memory = m.memory({ initial: 2 })
  m.export("memory", memory)
  m.function(["i32"], ["i32"], (f, count) => {
    const [i, atA, atB, end, to] = Array.from({ length: 5 }, () => f.local("i32"))
    f.forRange(i!, 0, count!, 1, () => {
      f.assign(atA!, a)
      f.assign(atB!, b)
      f.assign(end!, a + 4 * k)
      f.assign(to!, sums)
      emitTile(f, { ...tile, relaxed, fresh: true, a: atA!, aStride: 4 * k, b: atB!, bStride: 4 * tile.columns, aEnd: end!, sums: to!, sumStride: 4 * tile.columns })
    })
    f.i32(salt)
  }, "run")
  const { run, memory: shared } = new WebAssembly.Instance(new WebAssembly.Module(m.finish())).exports as { run: (count: number) => number; memory: WebAssembly.Memory }
  const values = new Float32Array(shared.buffer, 0, sums / 4)
  for (let i = 0; i < values.length; i++) values[i] = Math.fround(Math.sin(i))
  // The best of several runs is the one that had the processor to itself.
  let time = Infinity
  for (let i = 0; i < 20; i++) {
    const start = performance.now()
    run(120)
    time = Math.min(time, performance.now() - start)
  }
  return { time, bits: new Uint32Array(shared.buffer, sums, tile.rows * tile.columns).join() }
}
