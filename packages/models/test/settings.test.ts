import fc from "fast-check"
import { ThimbleError, tensor } from "@thimble/core"
import type { GgufFile, GgufValue } from "@thimble/formats"
import { describe, expect, test } from "vitest"
import { architectures, expectedTensors, ggufNames, readConfig, readGgufConfig, writeGgufConfig, type Config, type Json } from "../src/index.ts"
import { small, smallEncoders, smallModel } from "./random-model.ts"

const all: readonly Json[] = [...Object.values(small), ...Object.values(smallEncoders)]
/** What stands where a size or a setting is expected. */
const odd = fc.oneof(fc.jsonValue(), fc.integer(), fc.double(), fc.constantFrom(-1, 0, 2 ** 31, 1e300, "16", null, true, [], {}, { rope_type: "yarn" }, { type: "longrope", factor: -1 }))

const isRefusal = (e: unknown): boolean => e instanceof ThimbleError && e.code === "format"
function makesSense({ layers, heads, kvHeads, width, rope, headSize }: Config): boolean {
  return [layers, heads, kvHeads, width, headSize].every((n) => Number.isInteger(n) && n >= 1) && heads % kvHeads === 0 && (rope === undefined || rope.features <= headSize)
}

describe("settings of files are not believed", () => {
  test("config.json: any value in any place is read, or refused", () => {
    fc.assert(fc.property(fc.constantFrom(...all), fc.nat(), odd, (json, place, value) => {
      const keys = [...Object.keys(json), "rope_scaling", "rope_parameters", "head_dim", "layer_types", "eos_token_id", "rms_norm_eps", "partial_rotary_factor"]
      try {
        return makesSense(readConfig({ ...json, [keys[place % keys.length]!]: value }))
      } catch (e) {
        return isRefusal(e)
      }
    }), { numRuns: 500 })
  })

  test("GGUF: the same", async () => {
    const value: fc.Arbitrary<GgufValue> = fc.oneof(
      fc.record({ type: fc.constantFrom("u32" as const, "i32" as const, "f32" as const), value: fc.oneof(fc.integer(), fc.constantFrom(0, 1, 3, 1e30, NaN)) }),
      fc.record({ type: fc.constant("string" as const), value: fc.string() }),
      fc.constant({ type: "array" as const, of: "u32" as const, value: new Uint32Array([1, 2]) }),
      fc.constant({ type: "bool" as const, value: true }),
    )
    await fc.assert(fc.asyncProperty(fc.constantFrom(...all.map((json) => readConfig(json))), fc.nat(), value, async (config, place, changed) => {
      const metadata = writeGgufConfig(config), keys = [...metadata.keys(), `${metadata.get("general.architecture")!.value as string}.rope.scaling.type`]
      metadata.set(keys[place % keys.length]!, changed)
      const entries = new Map(config.architecture.endsWith("bert") ? [] : expectedTensors(config).map((t) => [ggufNames(config).get(t.name)!, { type: "F32" as const, shape: t.shape, begin: 0, end: 0 }]))
      if (entries.size === 0) entries.set("token_embd.weight", { type: "F32", shape: [config.vocabulary, config.width], begin: 0, end: 0 })
      const file: Pick<GgufFile, "name" | "metadata" | "entries" | "tensor"> = { name: "some.gguf", metadata, entries, tensor: () => Promise.resolve(tensor([1])) }
      try {
        return makesSense(await readGgufConfig(file))
      } catch (e) {
        return isRefusal(e)
      }
    }), { numRuns: 300 })
  })
})

test("every architecture states all that its files need", () => {
  for (const a of architectures) {
    const config = readConfig({ ...small, ...smallEncoders }[a.name]!)
    const names = expectedTensors(config).map((t) => t.name)
    expect([a.name, new Set(names).size]).toEqual([a.name, names.length])
    expect(a.gguf).not.toBe("")
  }
})

test("more tokens than learned positions are refused", () => {
  const model = smallModel("gpt2", { n_positions: 4 })
  expect(() => model.forward(tensor(new Int32Array(5), { shape: [1, 5] }))).toThrow("forward: 5 tokens, but the model has learned 4 positions")
})
