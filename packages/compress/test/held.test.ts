import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { quantizeWeight, type Format, type Weight } from "@thimble/core"
import { exportModel, type Model, type Unheld } from "@thimble/models"
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from "vitest"
import { open } from "../../kernels/src/index.ts"
import { matricesOf, whyNot, type ExportFormat } from "../../models/src/dialect/fits.ts"
import { held } from "../../models/src/dialect/held.ts"
import { smallModel } from "../../models/test/random-model.ts"
import { affine, biasCorrected, codebook, fp, fp4, ggml, gptq, hqq, int, int8Activations, keep, mx, nf4, nvfp4, on, plan, quantize, rotated, rtn, smooth, sequencesOf, type Bits, type QuantizedFormat, type Stage } from "../src/index.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))
const out = mkdtempSync(join(tmpdir(), "thimble-held-"))
afterAll(() => rmSync(out, { recursive: true }))

const model = (): Model => smallModel("llama", { hidden_size: 64, intermediate_size: 96, vocab_size: 64 })
const made = async <S extends Stage>(recipe: S | readonly S[]) => (await plan(model(), recipe).run(await sequencesOf([[1, 5, 9, 2, 6, 5, 3, 5]])).result).model
const refused = (promise: Promise<unknown>): Promise<string> => promise.then(() => "it was written", (e: Error) => e.message)

describe("what a target cannot store is an error of types", () => {
  const group = 32
  test("of a format, through a method, a recipe and a plan", async () => {
    const small = await made(quantize({ default: rtn(int(3, { group })) })), path = join(out, "a")
    await exportModel(small, path, "gptq")
    await exportModel(small, path, "compressed-tensors")
    // @ts-expect-error AWQ has four bits
    expect(await refused(exportModel(small, path, "awq"))).toMatch("it holds 4 bits, not 3")
    // @ts-expect-error bitsandbytes has codebooks and rows of bytes
    expect(await refused(exportModel(small, path, "bitsandbytes"))).toMatch("it holds nf4, fp4, or 8 bits with a scale per row")
  })
  test("of any rule, and of methods around methods", async () => {
    const small = await made([rotated({ seed: 1 }), quantize({ default: int8Activations({ method: biasCorrected(rtn(int(4, { group }))), scale: "token" }), rules: [on("down_proj", rtn({ format: nf4({ group }) })), on("q_proj", keep())] })])
    // @ts-expect-error compressed-tensors has no nf4
    expect(await refused(exportModel(small, join(out, "b"), "compressed-tensors", { reader: "transformers" }))).toMatch("down_proj")
    // @ts-expect-error GGUF has none, either
    expect(await refused(exportModel(small, join(out, "b"), "gguf"))).toMatch("down_proj")
  })
  test("kinds are what formats and methods are called with, one or all of them", () => {
    expectTypeOf(rtn(int(4)).stores).toEqualTypeOf<"int4" | undefined>()
    expectTypeOf(smooth({ method: gptq({ format: int(2, { group }) }) }).stores).toEqualTypeOf<"int2" | undefined>()
    expectTypeOf(hqq({ bits: 3 }).stores).toEqualTypeOf<"affine3" | undefined>()
    expectTypeOf(quantize({ default: rtn(int(4)), rules: [on("a", rtn(fp("e4m3"))), on("b", keep())] }).stores).toEqualTypeOf<"int4" | "e4m3" | "kept" | undefined>()
    expectTypeOf(rtn(ggml.Q4_K).stores).toEqualTypeOf<"Q4_K" | undefined>()
    expectTypeOf<Unheld<"awq", "int4" | "int3" | "nf4">>().toEqualTypeOf<"int3" | "nf4">()
  })
  test("where it may be one or another, nothing is refused before it runs", async () => {
    const bits: Bits = [4, 3][Number(out.length > 0)] as Bits, any: QuantizedFormat = int(bits, { group })
    const small = await made(quantize({ default: rtn(int(bits, { group })) })), other = await made(quantize({ default: rtn(any) }))
    expectTypeOf(rtn(any).stores).toEqualTypeOf<string | undefined>()
    for (const m of [small, other]) expect(await refused(exportModel(m, join(out, "c"), "awq"))).toMatch("it holds 4 bits, not 3")
  })
  test("options are those of the target", async () => {
    const small = await made(quantize({ default: rtn(int(4, { group })) }))
    // @ts-expect-error layouts are compressed-tensors's
    await exportModel(small, join(out, "d"), "awq", { layout: "pack-quantized" })
    // @ts-expect-error there is no such layout
    expect(await refused(exportModel(small, join(out, "d"), "compressed-tensors", { layout: "packed" }))).not.toBe("")
    // @ts-expect-error no reader of GGUF has to be told
    await exportModel(small, join(out, "d.gguf"), "gguf", { reader: "vllm" })
  })
})

test("types know exactly what can be stored: each kind, in some groups and scales, by each target", async () => {
  const base = smallModel("llama", { hidden_size: 256, intermediate_size: 256, vocab_size: 64 }), path = "model.layers.0.mlp.down_proj", dense = base.weights[path]!, values = (await dense.dense().data()) as Float32Array
  const kinds = new Map<string, Format[]>(), scales = ["f16", "f32"] as const, bits = [1, 2, 3, 4, 5, 6, 7, 8] as const
  for (const b of bits) {
    kinds.set(`int${b}`, scales.flatMap((s) => (["row", 32] as const).flatMap((group) => [...(b > 1 ? [int(b, { group, scales: s })] : []), int(b, { group, scales: s, range: "asymmetric" })])))
    kinds.set(`affine${b}`, scales.flatMap((s) => [affine(b, { group: 32, scales: s }), affine(b, { group: 64, scales: s })]))
  }
  for (const k of ["e4m3", "e5m2", "e2m1", "e3m2", "e2m3"] as const) kinds.set(k, [...(["row", 32, "tensor"] as const).map((group) => fp(k, { group }))]).set(`mx ${k}`, [mx(k)])
  kinds.set("mx int8", [mx("int8")]).set("nvfp4", [nvfp4()]).set("nf4", [nf4(), nf4({ absmax: "nested" })]).set("fp4", [fp4()]).set("codebook", [codebook(4)])
  for (const [name, format] of Object.entries(ggml)) if (!/^B?F\d/.test(name) && "errorBound" in format) kinds.set(name, [format as Format])
  const found = Object.fromEntries(Object.keys(held).map((target) => [target, [] as string[]]))
  for (const [kind, formats] of kinds)
    for (const format of formats) {
      const weight: Weight = quantizeWeight(format, values, dense.shape), matrix = matricesOf(base.with({ [path]: weight })).find((m) => m.path === path)!
      for (const target of Object.keys(held) as ExportFormat[]) if (!found[target]!.includes(kind) && whyNot(matrix, target, {}) === undefined) found[target]!.push(kind)
    }
  // Blocks that are only read have no encoder to try.
  for (const [target, all] of Object.entries(held)) expect(found[target]!.sort(), target).toEqual([...all].filter((k) => !/^IQ[123]/.test(k)).sort())
})
