import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { denseWeight, memory, quantizedWeight, quantizeWeight, realize, tensor, tensorsOf, uploadParts, type Format, type Weight } from "@thimble/core"
import { encodeSafetensors, ggml, openGguf, openSafetensors, storeCodes, type IntegerCodes, type RawTensor } from "@thimble/formats"
import { open } from "@thimble/kernels"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { affine, bitmask, blocks, csr, fp, fp4, int, keepOf, magnitude, mx, nf4, nOfM, nvfp4, on, permutedWeight, plan, prune, pruned, quantize, rtn, unstructured, withActivations, type Stage } from "../../compress/src/index.ts"
import { codesOfWeight, exportModel, loadModel, saveModel, type ExportFormat, type ExportOptions, type Json, type Model } from "../src/index.ts"
import { smallModel } from "./random-model.ts"

const out = mkdtempSync(join(tmpdir(), "thimble-export-"))
let count = 0
const folder = (): string => join(out, String(count++))
beforeAll(async () => {
  await open("wasm", { threads: 1 })
})
afterAll(() => rmSync(out, { recursive: true }))

const sizes: Readonly<Record<string, Json>> = {
  llama: { hidden_size: 64, intermediate_size: 96, vocab_size: 64 }, qwen2: { hidden_size: 64, intermediate_size: 96, vocab_size: 64 },
  phi3: { hidden_size: 64, intermediate_size: 96, vocab_size: 64 }, gpt2: { n_embd: 64, vocab_size: 64 },
}
/** What a matrix is stored in; f16 if nothing. */
type Choice = (path: string) => Format | undefined
const inBlocks = (format: Format): Choice => (path) => (/\.\d+\./.test(path) ? format : undefined)

async function quantized(architecture: string, choice: Choice, change: (v: number) => number = (v) => v): Promise<Model> {
  const model = smallModel(architecture, sizes[architecture]), changed: Record<string, Weight> = {}
  for (const [path, w] of Object.entries(model.weights)) {
    const format = choice(path)
    changed[path] = format === undefined ? denseWeight(w.dense().cast("f16")) : quantizeWeight(format, ((await w.dense().data()) as Float32Array).map(change), w.shape)
  }
  const made = model.with(changed)
  await realize(...tensorsOf(made))
  return made
}
const answer = async (model: Model): Promise<number[]> => Array.from(await model.forward(tensor([[1, 5, 9, 2, 33]], { dtype: "i32" })).data())
const contents = (path: string): Record<string, string> => Object.fromEntries(readdirSync(path).sort().map((file) => [file, readFileSync(join(path, file)).toString("latin1")]))
const settings = (path: string): Json => (JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as { quantization_config: Json }).quantization_config
const namesIn = async (path: string): Promise<string[]> => {
  await using file = await openSafetensors(join(path, "model.safetensors"))
  return [...file.entries].map(([name, { dtype, shape }]) => `${name} ${dtype}[${shape.join()}]`)
}
const refused = (promise: Promise<unknown>): Promise<string> => promise.then(() => "it was written", (e: Error) => e.message)

/** load(export(model)) answers as the model does, bit for bit, and is exported to the same bytes. */
async function roundTrip<F extends ExportFormat>(model: Model, format: F, options?: ExportOptions<F>): Promise<{ readonly path: string; readonly again: Model }> {
  const [a, b] = [folder(), folder()]
  await exportModel(model, a, format, options)
  const again = await loadModel(format === "gguf" ? join(a, "model.gguf") : a)
  expect(await answer(again)).toEqual(await answer(model))
  await exportModel(again, b, format, options)
  expect(contents(b)).toEqual(contents(a))
  return { path: a, again }
}

describe("load(export(model)) is the model, and exported again the same bytes", () => {
  const asymmetric = { range: "asymmetric", group: 32 } as const
  test.each<[string, ExportFormat, Choice, ExportOptions<"compressed-tensors">?, string?]>([
    ["4 bits", "gptq", inBlocks(int(4, { group: 32 }))],
    ["3 bits", "gptq", inBlocks(int(3, { group: 32 }))],
    ["8 bits by rows", "gptq", inBlocks(int(8))],
    ["2 bits with zero points", "gptq_v2", inBlocks(int(2, asymmetric))],
    ["4 bits with zero points", "gptq_v2", inBlocks(int(4, asymmetric))],
    ["some matrices in other bits", "gptq_v2", (p) => (/\.\d+\./.test(p) ? (p.endsWith("down_proj") ? int(8, { group: 32 }) : int(4, asymmetric)) : undefined)],
    ["some matrices kept", "gptq", (p) => (/mlp/.test(p) ? int(4, { group: 32 }) : undefined)],
    ["some matrices of one block kept", "gptq", (p) => (/\.\d+\./.test(p) && !/\.1\.mlp/.test(p) ? int(4, { group: 32 }) : undefined)],
    ["the head, too", "gptq", (p) => (/\.\d+\.|lm_head/.test(p) ? int(4, { group: 32 }) : undefined)],
    ["blocks of ggml", "gptq", inBlocks(ggml.Q4_0)],
    ["4 bits with zero points", "awq", inBlocks(int(4, asymmetric))],
    ["4 symmetric bits, some matrices kept", "awq", (p) => (/mlp/.test(p) ? int(4, { group: 32 }) : undefined)],
    ["5 bits in groups", "compressed-tensors", inBlocks(int(5, { group: 32 }))],
    ["4 bits with zero points, bf16 scales", "compressed-tensors", inBlocks(int(4, { ...asymmetric, scales: "bf16" }))],
    ["3 bits in bytes", "compressed-tensors", inBlocks(int(3, asymmetric)), { layout: "naive-quantized" }],
    ["8-bit floats by rows", "compressed-tensors", inBlocks(fp("e4m3"))],
    ["8-bit floats, a scale for all", "compressed-tensors", inBlocks(fp("e4m3", { group: "tensor" }))],
    ["MXFP4", "compressed-tensors", inBlocks(mx("e2m1"))],
    ["MXFP4 and 4 bits", "gguf", (p) => (/attn/.test(p) ? mx("e2m1") : int(4, { group: 32 }))],
    ["several schemes", "compressed-tensors", (p) => (/self_attn/.test(p) ? int(8, { group: 32 }) : /gate|up/.test(p) ? int(4, { group: 32 }) : /down/.test(p) ? fp("e4m3") : undefined)],
    ["nf4", "bitsandbytes", inBlocks(nf4({ group: 32 }))],
    ["nf4, nested", "bitsandbytes", inBlocks(nf4({ group: 32, absmax: "nested" }))],
    ["fp4", "bitsandbytes", inBlocks(fp4({ group: 32 }))],
    ["rows of int8", "bitsandbytes", inBlocks(int(8))],
    ["4 bits, embeddings and head, too", "mlx", () => int(4, { group: 32 })],
    ["6 and 3 bits with zero points", "mlx", (p) => (/mlp|embed/.test(p) ? int(6, asymmetric) : int(3, asymmetric))],
    ["minima of their own", "mlx", () => affine(4, { group: 32 })],
    ["blocks with minima", "mlx", inBlocks(ggml.Q4_1)],
    ["4 bits", "gguf", inBlocks(int(4, { group: 32 }))],
    ["5 bits by rows, 8 bits, zero points, and blocks", "gguf", (p) => (/q_proj/.test(p) ? ggml.Q5_1 : /_proj/.test(p) ? int(4, asymmetric) : int(8, { group: 32 }))],
  ])("%s: %s", async (_, format, choice, options) => {
    await roundTrip(await quantized("llama", choice), format, options)
  })

  test("weights with groups in another order: GPTQ and compressed-tensors", async () => {
    const model = smallModel("llama", sizes.llama!), changed: Record<string, Weight> = {}
    for (const [path, { shape }] of Object.entries(model.weights)) {
      if (!/\.\d+\./.test(path)) continue
      const n = shape[0] * shape[1], groups = Math.ceil(shape[1] / 32), { format, parts } = storeCodes({
        kind: "integer", bits: 4, shape, group: 32, codes: Uint8Array.from({ length: n }, (_, i) => (i * 7 + (i >> 3)) % 16), groupOf: Int32Array.from({ length: shape[1] }, (_, c) => (c * 5) % groups),
        scales: { data: Uint16Array.from({ length: shape[0] * groups }, (_, i) => 0x1c00 + i), shape: [shape[0], groups], dtype: "f16" },
      })
      changed[path] = quantizedWeight(format, shape, uploadParts(parts))
    }
    for (const format of ["gptq", "compressed-tensors"] as const) {
      const { path, again } = await roundTrip(model.with(changed), format)
      expect(((await codesOfWeight(again.weights["model.layers.0.mlp.down_proj"]!)) as IntegerCodes).groupOf).toEqual(Int32Array.from({ length: 96 }, (_, c) => (c * 5) % 3))
      if (format === "gptq") expect(settings(path).desc_act).toBe(true)
    }
  })

  test("what GPTQ solved with columns by activity", async () => {
    const model = await quantized("llama", inBlocks(int(4, { group: 32 }))), changed: Record<string, Weight> = {}
    for (const [path, w] of Object.entries(model.weights)) if (/\.\d+\./.test(path)) changed[path] = permutedWeight(w, Int32Array.from({ length: w.shape[1] }, (_, i) => (i * 5 + 3) % w.shape[1]))
    const permuted = model.with(changed)
    for (const format of ["gptq", "compressed-tensors"] as const) {
      const path = folder(), other = folder()
      await exportModel(permuted, path, format)
      const again = await loadModel(path)
      for (const name of Object.keys(changed)) expect(await again.weights[name]!.dense().data()).toEqual(await changed[name]!.dense().data())
      await exportModel(again, other, format)
      expect(contents(other)).toEqual(contents(path))
    }
    expect(await refused(exportModel(permuted, folder(), "awq"))).toMatch(/q_proj \(4-bit integers \[64, 64\] \(groups of 32, f16 scales, groups in another order\)\): groups are neighbours there \[gptq, gptq_v2, compressed-tensors could\]/)
  })

  test.each([
    ["gpt2", "gptq", int(4, { group: 32 })], ["gpt2", "bitsandbytes", nf4()], ["gpt2", "gguf", int(4, { group: 32 })],
    ["phi3", "gptq", int(4, { group: 32 })], ["phi3", "awq", int(4, { group: 32 })],
    ["qwen2", "compressed-tensors", int(4, { group: 32 })], ["qwen2", "mlx", int(4, { group: 32 })], ["qwen2", "gptq", int(4, { group: 32 })],
  ] as const)("%s, whose modules are transposed, fused, tied or have biases: %s", async (architecture, format, stored) => {
    await roundTrip(await quantized(architecture, inBlocks(stored)), format)
  })
  test("embeddings that are also the head, packed: MLX and GGUF", async () => {
    const model = await quantized("qwen2", () => int(8, { group: 32 }))
    await roundTrip(model, "mlx")
    await roundTrip(model, "gguf")
  })
})

describe("what is written", () => {
  test("GPTQ: tensors as AutoGPTQ has them, settings in both files", async () => {
    const path = folder()
    await exportModel(await quantized("llama", inBlocks(int(4, { group: 32 }))), path, "gptq")
    expect((await namesIn(path)).filter((n) => n.includes("layers.0.mlp.down_proj"))).toEqual(["g_idx I32[96]", "qweight I32[12,64]", "qzeros I32[3,8]", "scales F16[3,64]"].map((n) => `model.layers.0.mlp.down_proj.${n}`))
    expect(settings(path)).toEqual({ quant_method: "gptq", bits: 4, group_size: 32, desc_act: false, sym: true, checkpoint_format: "gptq", lm_head: false, modules_in_block_to_quantize: null })
    expect(JSON.parse(readFileSync(join(path, "quantize_config.json"), "utf8"))).toEqual(settings(path))
  })
  test("which modules are quantized is said", async () => {
    const path = folder(), mlp: Choice = (p) => (/mlp/.test(p) ? int(4, { group: 32 }) : undefined), attention = [0, 1].flatMap((i) => ["q", "k", "v", "o"].map((m) => `model.layers.${i}.self_attn.${m}_proj`))
    await exportModel(await quantized("llama", mlp), path, "gptq")
    expect(settings(path).modules_in_block_to_quantize).toEqual([["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]])
    await exportModel(await quantized("llama", (p) => (/0\.mlp\.(gate|up)/.test(p) ? int(8, { group: 32 }) : /\.\d+\./.test(p) && !p.endsWith("1.mlp.down_proj") ? int(4, { group: 32 }) : undefined)), path, "gptq")
    const eight = { bits: 8, group_size: 32, desc_act: false, sym: true }, at = (name: string): string => `^model\\.layers\\.${name.replaceAll(".", "\\.")}$`
    expect(settings(path)).toMatchObject({ bits: 4, modules_in_block_to_quantize: null })
    // Rules are also there for the matrix that vLLM makes of two.
    expect(settings(path).dynamic).toEqual({ [`-:${at("1.mlp.down_proj")}`]: {}, ...Object.fromEntries(["gate_proj", "gate_up_proj", "up_proj"].map((m) => [`+:${at(`0.mlp.${m}`)}`, eight])) })
    await exportModel(await quantized("llama", mlp), path, "awq")
    expect(settings(path)).toEqual({ quant_method: "awq", bits: 4, group_size: 32, zero_point: true, version: "gemm", modules_to_not_convert: [...attention, "lm_head"] })
    await exportModel(await quantized("llama", mlp), path, "compressed-tensors")
    expect(settings(path)).toMatchObject({ format: "pack-quantized", ignore: [...attention, "lm_head"], config_groups: { group_0: { targets: ["Linear"], weights: { num_bits: 4, type: "int", symmetric: true, strategy: "group", group_size: 32 } } } })
    await exportModel(await quantized("llama", (p) => (/mlp/.test(p) ? nf4({ group: 32 }) : undefined)), path, "bitsandbytes")
    expect(settings(path)).toMatchObject({ load_in_4bit: true, bnb_4bit_quant_type: "nf4", bnb_4bit_use_double_quant: false, llm_int8_skip_modules: [...attention, "lm_head"] })
  })
  test("what was packed is not left in config.json when a model is saved plainly", async () => {
    const [a, b] = [folder(), folder()]
    await exportModel(await quantized("llama", inBlocks(int(4, { group: 32 }))), a, "awq")
    const model = await loadModel(a)
    expect(await refused(saveModel(model, b))).toMatch(/^saveModel: these weights are stored in ways/)
    await saveModel(model, b, { dtype: "f32" })
    expect(settings(b)).toBeUndefined()
    expect(await answer(await loadModel(b))).toEqual(await answer(model))
  })
  test("nothing stays on the device, and weights that are kept are converted if asked", async () => {
    const model = await quantized("llama", inBlocks(int(4, { group: 32 }))), path = folder(), { bytes, tensors } = memory()
    await exportModel(model, path, "compressed-tensors", { dtype: "bf16" })
    await exportModel(model, path, "gguf", { dtype: "f32", name: "small" })
    expect([memory().bytes, memory().tensors]).toEqual([bytes, tensors])
    expect(await namesIn(path)).toContain("lm_head.weight BF16[64,64]")
    expect((JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as Json).torch_dtype).toBe("bfloat16")
    await using file = await openGguf(join(path, "model.gguf"))
    expect([file.entries.get("output.weight")!.type, file.entries.get("blk.0.attn_q.weight")!.type]).toEqual(["F32", "Q4_0"])
  })
  test("products with int8 activations see the same codes, in any order of groups", async () => {
    const model = await quantized("llama", inBlocks(int(4, { group: 32 }))), path = folder()
    await exportModel(model, path, "gptq")
    const plain = await answer(model), rounded = await answer(await loadModel(path, { activations: "int8" })), names = Object.keys(model.weights).filter((p) => /\.\d+\./.test(p))
    const asked = model.with(Object.fromEntries(await Promise.all(names.map(async (p) => [p, quantizedWeight(int(4, { group: 32 }), model.weights[p]!.shape, model.weights[p]!.parts(), { activations: "int8" })] as const))))
    expect(rounded).toEqual(await answer(asked))
    expect(rounded).not.toEqual(plain)
    const own = (await codesOfWeight(model.weights[names[0]!]!)) as IntegerCodes, groupOf = Int32Array.from({ length: 64 }, (_, c) => (c % 2))
    const { format, parts } = storeCodes({ ...own, groupOf }), x = tensor(Array.from({ length: 64 }, (_, i) => Math.sin(i)), { shape: [1, 64] })
    const [a, b] = await Promise.all((["f32", "int8"] as const).map((activations) => quantizedWeight(format, own.shape, uploadParts(parts), { activations }).apply(x).data()))
    a!.forEach((v, i) => expect(Math.abs(v - b![i]!)).toBeLessThan(0.1))
  })
  test("shards", async () => {
    const model = await quantized("llama", inBlocks(int(4, { group: 32 }))), path = folder()
    await exportModel(model, path, "gptq", { shardBytes: 20_000 })
    expect(readdirSync(path).filter((f) => f.endsWith("safetensors")).length).toBeGreaterThan(2)
    expect(await answer(await loadModel(path))).toEqual(await answer(model))
  })
})

describe("activations in int8", () => {
  type Seen = NonNullable<Weight["activations"]>
  const seeing = async (format: Format, seen: (path: string) => Seen): Promise<Model> => {
    const model = await quantized("llama", inBlocks(format)), made = withActivations(model, (p) => (/\.\d+\./.test(p) ? seen(p) : undefined))
    await realize(...tensorsOf(made))
    return made
  }
  const groups = (path: string): readonly { readonly format?: string; readonly targets: readonly string[]; readonly input_activations: Json | null }[] => Object.values(settings(path).config_groups as Record<string, never>)
  const scaleOf = (p: string): number => Math.fround(0.02 + p.length / 1000)
  const ways: readonly (readonly [string, Format, (path: string) => Seen, string, readonly string[]])[] = [
    ["by token", int(8), () => "int8PerToken", "int-quantized", ["weight I8[64,96]", "weight_scale F16[64,1]"]],
    ["a scale for all that was found beforehand", int(8), (p) => ({ scale: scaleOf(p) }), "int-quantized", ["input_scale F32[1]", "weight I8[64,96]", "weight_scale F16[64,1]"]],
    ["and a zero point", int(8), (p) => ({ scale: scaleOf(p), zero: -3 }), "int-quantized", ["input_scale F32[1]", "input_zero_point I8[1]", "weight I8[64,96]", "weight_scale F16[64,1]"]],
    ["by token, beside weights of 4 bits", int(4, { group: 32 }), () => "int8PerToken", "naive-quantized", ["weight I8[64,96]", "weight_scale F16[64,3]"]],
    ["some in one way, some in the other", int(8), (p) => (p.includes("mlp") ? "int8PerToken" : { scale: scaleOf(p) }), "int-quantized", ["weight I8[64,96]", "weight_scale F16[64,1]"]],
  ]
  test.each(ways)("load(export(model)) rounds them as the model does: %s", async (_, format, seen, layout, tensors) => {
    const model = await seeing(format, seen), { path, again } = await roundTrip(model, "compressed-tensors"), module = "model.layers.0.mlp.down_proj"
    expect(settings(path).format).toBe(layout)
    expect((await namesIn(path)).filter((n) => n.startsWith(`${module}.`)).map((n) => n.slice(module.length + 1)).sort()).toEqual(tensors)
    // That they are rounded can be seen, and loading can leave it out.
    const exact = await loadModel(path, { activations: "f32" }), unrounded = withActivations(model, (p) => (/\.\d+\./.test(p) ? "f32" : undefined))
    expect(await answer(exact)).toEqual(await answer(unrounded))
    expect(await answer(again)).not.toEqual(await answer(exact))
  })
  test("schemes are by what activations are, too", async () => {
    const { path } = await roundTrip(await seeing(int(8), (p) => (p.includes("mlp") ? "int8PerToken" : { scale: scaleOf(p) })), "compressed-tensors")
    expect(groups(path).map((g) => [g.targets.length, g.input_activations!.strategy, g.input_activations!.dynamic, g.input_activations!.symmetric])).toEqual([[8, "tensor", false, true], [6, "token", true, true]])
  })
  test("int-quantized asks for rounding by token where the model says nothing", async () => {
    const model = await quantized("llama", inBlocks(int(8))), path = folder()
    await exportModel(model, path, "compressed-tensors", { layout: "int-quantized" })
    expect(await answer(await loadModel(path))).toEqual(await answer(withActivations(model, (p) => (/\.\d+\./.test(p) ? "int8PerToken" : undefined))))
  })
  test("a scale has a place nowhere else, and what is found as activations come is the reader's affair", async () => {
    const given = await seeing(int(8), () => ({ scale: 0.05 }))
    for (const format of ["gptq", "bitsandbytes", "gguf"] as const) expect(await refused(exportModel(given, folder(), format))).toMatch(/cannot store 14 weights: .*q_proj \(8-bit integers .*\): the scale of its activations has no place there \[compressed-tensors could\]/)
    expect(await refused(exportModel(given, folder(), "compressed-tensors", { layout: "pack-quantized" }))).toMatch("pack-quantized is for activations that stay floats")
    expect(await refused(exportModel(await seeing(fp("e4m3"), () => "int8PerToken"), folder(), "compressed-tensors"))).toMatch("activations are rounded to int8 beside integers there")
    for (const seen of ["int8", "int8PerToken"] as const) await exportModel(await seeing(int(8), () => seen), folder(), "gptq")
  })
  test("matrices that vLLM runs as one see the same", async () => {
    const model = await seeing(int(8), (p) => (p.endsWith("q_proj") ? "int8PerToken" : { scale: 0.05 }))
    expect(await refused(exportModel(model, folder(), "compressed-tensors"))).toMatch(/vLLM runs q_proj, k_proj, v_proj as one/)
    await exportModel(model, folder(), "compressed-tensors", { reader: "transformers" })
  })
})

describe("what does not fit is refused before anything is written", () => {
  test("all weights, why, and what could store them", async () => {
    const model = await quantized("llama", (p) => (p === "model.embed_tokens" ? int(4, { group: 32 }) : /down/.test(p) ? nf4({ group: 32 }) : /0\.mlp/.test(p) ? int(3, { group: 32 }) : /\.\d+\./.test(p) ? int(4, { group: 32 }) : undefined)), path = folder()
    expect(await refused(exportModel(model, path, "awq"))).toBe("exportModel: awq cannot store 5 weights: " + [
      "model.embed_tokens (4-bit integers [64, 64] (groups of 32, f16 scales)): embeddings stay floats [mlx, gguf could]",
      "model.layers.0.mlp.gate_proj (3-bit integers [96, 64] (groups of 32, f16 scales)): it holds 4 bits, not 3 [gptq, gptq_v2, compressed-tensors, mlx, gguf could]",
      "model.layers.0.mlp.up_proj (3-bit integers [96, 64] (groups of 32, f16 scales)): it holds 4 bits, not 3 [gptq, gptq_v2, compressed-tensors, mlx, gguf could]",
      "model.layers.0.mlp.down_proj (nf4 [64, 96] (blocks of 32)): it holds integers with a scale per group [bitsandbytes could]",
      "model.layers.1.mlp.down_proj (nf4 [64, 96] (blocks of 32)): it holds integers with a scale per group [bitsandbytes could]",
    ].join("; ") + "; quantize otherwise, keep dense, or export to a format that could")
    expect(() => readdirSync(path)).toThrow("no such file")
  })
  const cases: readonly (readonly [string, ExportFormat, Choice, RegExp])[] = [
    ["groups that do not divide", "gptq", inBlocks(int(4, { group: 40 })), /cannot store 14 weights: model\.layers\.0\.self_attn\.q_proj \(.*\): groups of 40 do not divide 64 columns; model/],
    ["groups that end within rows, of nf4", "bitsandbytes", inBlocks(nf4({ group: 36 })), /q_proj \(nf4 g36\): it is no integers, small floats or codes/],
    ["scales of another type", "gptq", inBlocks(int(4, { group: 32, scales: "f32" })), /scales are f16 there, not f32 \[compressed-tensors, mlx could\]/],
    ["two settings where there is one", "awq", (p) => (/mlp/.test(p) ? int(4, { group: 32 }) : /attn/.test(p) ? int(4, { group: 64 }) : undefined), /it has one setting for all matrices, and most are groups of 64 \[/],
    ["matrices that run as one, stored in two ways", "gptq", (p) => (/q_proj/.test(p) ? int(8, { group: 32 }) : /attn/.test(p) ? int(4, { group: 32 }) : undefined), /v_proj .*: vLLM runs q_proj, k_proj, v_proj as one, and they are stored in different ways/],
    ["transposed modules", "gguf", inBlocks(nf4()), /its blocks hold integers with a scale/],
    ["codes of a table", "compressed-tensors", inBlocks(nvfp4()), /q_proj \(nvfp4\): it is no integers, small floats or codes of bitsandbytes/],
    ["nothing packed", "gptq", () => undefined, /no weight of the model is quantized; saveModel writes plain weights/],
  ]
  test.each(cases)("%s: %s", async (_, format, choice, message) => {
    const path = folder()
    expect(await refused(exportModel(await quantized("llama", choice), path, format))).toMatch(message)
    expect(() => readdirSync(path)).toThrow("no such file")
  })
  test("what only codes show: zero points of 0, of matrices without negative elements", async () => {
    const model = await quantized("llama", inBlocks(int(4, { group: 32, range: "asymmetric" })), Math.abs), path = folder()
    expect(await refused(exportModel(model, path, "gptq"))).toMatch(/cannot store 14 weights: model\.layers\.0\.self_attn\.q_proj \(.*\): has zero points of 0, which readers of this version mistake; gptq_v2 stores them as they are \[gptq_v2, awq/)
    expect(() => readdirSync(path)).toThrow("no such file")
    await roundTrip(model, "gptq_v2")
    await roundTrip(model, "awq")
  })
  test("Conv1D modules, where libraries have only linear ones", async () => {
    const model = await quantized("gpt2", inBlocks(int(4, { group: 32 })))
    for (const format of ["awq", "compressed-tensors", "mlx"] as const) expect(await refused(exportModel(model, folder(), format))).toMatch(new RegExp(`${format} cannot store 8 weights: transformer\\.h\\.0\\.attn\\.c_attn`))
  })
  test("transformers runs them one by one", async () => {
    const model = await quantized("llama", (p) => (/q_proj/.test(p) ? int(8, { group: 32 }) : /attn/.test(p) ? int(4, { group: 32 }) : undefined))
    await roundTrip(model, "gptq", { reader: "transformers" })
  })
  test("formats and options that there are not are errors of types", async () => {
    const model = await quantized("llama", inBlocks(int(4, { group: 32 })))
    // @ts-expect-error no such format
    expect(await refused(exportModel(model, folder(), "exl2"))).toBe("exportModel: no format is called 'exl2'; gguf, gptq, gptq_v2, awq, compressed-tensors, bitsandbytes, mlx")
    // @ts-expect-error a layout is compressed-tensors's
    await exportModel(model, folder(), "gptq", { layout: "pack-quantized" })
    // @ts-expect-error a name is GGUF's
    await exportModel(model, folder(), "gptq", { name: "small" })
  })
})

describe("what others write is read", () => {
  const edit = async (path: string, change: (tensors: Record<string, RawTensor>, config: Record<string, unknown>) => void): Promise<void> => {
    const tensors: Record<string, RawTensor> = {}, config = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as Record<string, unknown>, file = await openSafetensors(join(path, "model.safetensors"))
    for (const [name, { dtype, shape }] of file.entries) tensors[name] = { dtype, shape, bytes: (await file.bytes(name)).slice() }
    await file.close()
    change(tensors, config)
    const pieces: Uint8Array[] = []
    for await (const piece of encodeSafetensors(tensors)) pieces.push(piece)
    writeFileSync(join(path, "model.safetensors"), Buffer.concat(pieces))
    writeFileSync(join(path, "config.json"), JSON.stringify(config))
  }
  const written = async (format: ExportFormat): Promise<readonly [string, Model]> => {
    const model = await quantized("llama", inBlocks(int(4, { group: 32 }))), path = folder()
    await exportModel(model, path, format)
    return [path, model]
  }
  test("settings in quantize_config.json alone, biases of zeros", async () => {
    const [path, model] = await written("gptq"), bias = "model.layers.0.mlp.up_proj.bias"
    await edit(path, (tensors, config) => {
      delete config.quantization_config
      tensors[bias] = { dtype: "F16", shape: [96], bytes: new Uint16Array(96) }
    })
    expect(await answer(await loadModel(path))).toEqual(await answer(model))
    await edit(path, (tensors) => void (tensors[bias] = { dtype: "F16", shape: [96], bytes: new Uint16Array(96).fill(1) }))
    expect(await refused(loadModel(path))).toMatch("has the unknown model.layers.0.mlp.up_proj.bias")
  })
  test("settings that contradict the tensors, methods and values that nobody knows", async () => {
    const [path] = await written("awq"), change = (own: Json): Promise<void> => edit(path, (_, config) => void (config.quantization_config = { ...(config.quantization_config as Json), ...own }))
    await change({ modules_to_not_convert: ["model.layers.1"] })
    expect(await refused(loadModel(path))).toMatch(/packed, though config.json says that they are not: model\.layers\.1\.mlp\.down_proj/)
    await change({ modules_to_not_convert: null, group_size: 64 })
    expect(await refused(loadModel(path))).toMatch("awq: 'model.layers.0.self_attn.q_proj' has a tensor 'qzeros' of I32[2, 8], not I32[1, 8]")
    await change({ version: "gemv" })
    expect(await refused(loadModel(path))).toMatch(`awq: quantization_config: 'version' is "gemv"; known are "gemm"`)
    await change({ quant_method: "exl2" })
    expect(await refused(loadModel(path))).toMatch(`'quant_method' is "exl2"; known are gptq, awq, compressed-tensors, bitsandbytes, mlx`)
  })
  test("scales of activations as others write them, and activations that nothing here is multiplied with", async () => {
    const model = withActivations(await quantized("llama", inBlocks(int(8))), (p) => (/\.\d+\./.test(p) ? { scale: 0.0625 } : undefined)), path = folder()
    await exportModel(model, path, "compressed-tensors")
    const change = (tensor: RawTensor | undefined, inputs: Json = {}): Promise<void> => edit(path, (tensors, config) => {
      for (const name of Object.keys(tensors)) if (name.endsWith("input_scale")) {
        if (tensor === undefined) delete tensors[name]
        else tensors[name] = tensor
      }
      const { group_0: group } = (config.quantization_config as { config_groups: { group_0: { input_activations: Json } } }).config_groups
      group.input_activations = { ...group.input_activations, ...inputs }
    })
    await change({ dtype: "BF16", shape: [], bytes: Uint16Array.of(0x3d80) })
    expect(await answer(await loadModel(path))).toEqual(await answer(model))
    await change({ dtype: "F32", shape: [1], bytes: Float32Array.of(NaN) })
    expect(await refused(loadModel(path))).toMatch("compressed-tensors: 'model.layers.0.self_attn.q_proj' has an 'input_scale' of NaN")
    await change({ dtype: "F32", shape: [2], bytes: Float32Array.of(1, 1) })
    expect(await refused(loadModel(path))).toMatch("has 2 numbers in 'input_scale', not 1")
    await change(undefined)
    expect(await refused(loadModel(path))).toMatch("has no tensor 'input_scale'")
    await change(undefined, { type: "float", dynamic: true })
    expect(await answer(await loadModel(path))).toEqual(await answer(await loadModel(path, { activations: "f32" })))
  })
  test("targets by expressions and by names", async () => {
    const [path, model] = await written("compressed-tensors")
    await edit(path, (_, config) => {
      const own = config.quantization_config as { ignore: string[]; config_groups: { group_0: { targets: string[] } } }
      own.ignore = ["re:.*lm_head"]
      own.config_groups.group_0.targets = ["re:model\\.layers\\.\\d+\\.mlp", ...[0, 1].flatMap((i) => ["q", "k", "v", "o"].map((m) => `model.layers.${i}.self_attn.${m}_proj`))]
    })
    expect(await answer(await loadModel(path))).toEqual(await answer(model))
  })
})

describe("weights without their zeros, in compressed-tensors", () => {
  const pairs = pruned({ score: magnitude(), pattern: keepOf(2, 4), store: nOfM(2, 4, { values: "bf16" }) }), some = (store: Parameters<typeof pruned>[0]["store"]) => pruned({ score: magnitude(), pattern: unstructured(0.6), ...(store && { store }) })
  const made = async (...stages: Stage[]): Promise<Model> => (await plan(await quantized("llama", () => undefined), stages).run().result).model
  const sparsity = (path: string): Json => settings(path).sparsity_config as Json

  test.each([["2:4, bf16", pairs, "2:4 bf16", "sparse-24-bitmask", "2:4"], ["any, f16", some(bitmask({ values: "f16" })), "bitmask f16", "sparse-bitmask", "unstructured"], ["any, f32", some(bitmask()), "bitmask f32", "sparse-bitmask", "unstructured"]] as const)("%s: a model again, and the same bytes", async (_, method, form, format, structure) => {
    const { path, again } = await roundTrip(await made(prune({ default: method })), "compressed-tensors")
    expect(again.weights["model.layers.0.mlp.up_proj"]!.form).toContain(form)
    expect(settings(path)).toEqual({ quant_method: "compressed-tensors", sparsity_config: expect.objectContaining({ format, sparsity_structure: structure, targets: ["Linear"], ignore: ["lm_head"] }) as unknown })
    expect(sparsity(path).global_sparsity).toBeCloseTo(structure === "2:4" ? 0.5 : 0.6, 2)
    expect((await namesIn(path)).filter((n) => n.includes("layers.0.mlp.up_proj")).map((n) => n.replace(/.*up_proj\.(\w+) .*/, "$1")).sort()).toEqual(["bitmask", "compressed", ...(structure === "2:4" ? [] : ["row_offsets"]), "shape"])
  })
  test.each([["csr", csr({ values: "bf16" })], ["blocks", blocks([3, 2], { values: "bf16" })]] as const)("%s: is written as bits and values, of the same numbers", async (_, store) => {
    const model = await made(prune({ default: some(store) })), path = folder(), name = "model.layers.1.self_attn.k_proj"
    await exportModel(model, path, "compressed-tensors")
    const again = await loadModel(path)
    expect(again.weights[name]!.form).toContain("bitmask bf16")
    expect(await again.weights[name]!.dense().data()).toEqual(await model.weights[name]!.dense().data())
  })
  test("some matrices pruned to 2:4, others to any: one layout holds both; others rounded, others plain", async () => {
    const model = await made(prune({ rules: [on(/gate|up/, pairs), on(/down/, some(bitmask({ values: "bf16" })))] }), quantize({ rules: [on(/self_attn/, rtn(int(8)))] }))
    const path = folder()
    await exportModel(model, path, "compressed-tensors")
    const again = await loadModel(path)
    expect(sparsity(path)).toMatchObject({ format: "sparse-bitmask", ignore: expect.arrayContaining(["lm_head", "model.layers.0.self_attn.q_proj"]) as unknown })
    expect(settings(path)).toMatchObject({ format: "pack-quantized", ignore: expect.arrayContaining(["lm_head", "model.layers.0.mlp.up_proj"]) as unknown })
    for (const name of ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.down_proj", "model.layers.0.self_attn.q_proj"]) expect(await again.weights[name]!.dense().data(), name).toEqual(await model.weights[name]!.dense().data())
  })
  test("dialects of integers refuse them, and so do sparse integers theirs", async () => {
    const model = await made(prune({ default: pairs }))
    for (const format of ["gptq", "awq", "mlx", "gguf", "bitsandbytes"] as const) expect(await refused(exportModel(model, folder(), format))).toMatch(/sparse bf16.*compressed-tensors could/)
    expect(await refused(exportModel(await made(prune({ default: pruned({ score: magnitude(), pattern: keepOf(2, 4), store: nOfM(2, 4, { values: "int8" }) }) })), folder(), "compressed-tensors"))).toMatch(/2:4 int8/)
  })
  test("a layout that nobody knows is refused", async () => {
    const path = folder()
    await exportModel(await made(prune({ default: pairs })), path, "compressed-tensors")
    const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as { quantization_config: { sparsity_config: Json } }
    config.quantization_config.sparsity_config = { ...config.quantization_config.sparsity_config, format: "marlin-24" }
    writeFileSync(join(path, "config.json"), JSON.stringify(config))
    await expect(loadModel(path)).rejects.toThrow(/marlin-24/)
  })
})
