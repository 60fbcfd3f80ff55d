import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { denseWeight, memory, tensor } from "@thimble/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { loadModel, saveModel, type Model } from "@thimble/models"
import { open } from "../../kernels/src/index.ts"
import { smallModel } from "../../models/test/random-model.ts"
import { awq, formatNamed, ggml, gptq, int, keep, nf4, on, parseRecipe, plan, prune, pruned, quantize, rtn, sequencesOf, smooth, taylor, unstructured, type Calibration, type Method } from "../src/index.ts"
import { formats } from "./formats.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))
const folder = await mkdtemp(join(tmpdir(), "thimble-recipe-"))
afterAll(() => rm(folder, { recursive: true }))

const ids = (seed: number): Int32Array => Int32Array.from({ length: 12 }, (_, i) => (i * 7 + seed * 11) % 40)
const data = (): Promise<Calibration> => sequencesOf(Array.from({ length: 5 }, (_, i) => ids(i)))
const logits = async (model: Model): Promise<Float32Array> => (await model.forward(tensor(ids(9), { shape: [1, 12], dtype: "i32" })).data()) as Float32Array
const bytes = async (model: Model): Promise<string> => {
  const all: string[] = []
  for (const [name, t] of Object.entries(model.parts())) all.push(`${name} ${Buffer.from((await t.raw()).buffer.slice(0)).toString("base64")}`)
  return all.join("\n")
}
const farthest = (a: Float32Array, b: Float32Array): number => a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0)

describe("a plan", () => {
  test("tells what will be stored how, in how many bytes, and is right", async () => {
    const model = smallModel("llama"), p = plan(model, quantize({ default: rtn(int(4, { group: 8 })), rules: [on("lm_head", keep()), on(/down_proj$/, rtn(int(8)))] }))
    const { model: small, report } = await p.run().result
    expect(p.stages[0]!.entries.map((e) => e.path)).toContain("lm_head")
    expect(p.bytesAfter).toBe(small.bytes)
    expect(report.bytesAfter).toBe(small.bytes)
    expect(p.bitsPerWeight).toBeCloseTo(report.bitsPerWeight, 10)
    expect(String(p)).toMatch(/down_proj +16×24 +rtn +f32 +int8 /)
    expect(report.entries).toHaveLength(14)
    expect(String(report)).toContain("bits per weight")
  })
  test("refuses patterns that find nothing, with the names there are", () => {
    expect(() => plan(smallModel("llama"), quantize({ rules: [on("q_porj", keep()), on("lm_head", keep())] }))).toThrow(/q_porj.*model\.layers\.0\.self_attn\.q_proj/)
  })
  test("lists all matrices that do not fit", () => {
    expect(() => plan(smallModel("llama"), quantize({ default: rtn(ggml.Q4_K) }))).toThrow(/layers\.0\.self_attn\.q_proj.*multiples of 256[^]*layers\.1\.mlp\.down_proj/)
  })
  test("refuses to calibrate what is only looked up", () => {
    expect(() => plan(smallModel("llama"), quantize({ rules: [on("embed_tokens", awq({ format: int(4) }))] }))).toThrow(/only looked up/)
  })
  test("asks for data before anything is done", () => {
    expect(() => plan(smallModel("llama"), quantize({ default: awq({ format: int(4, { group: 8 }) }) })).run()).toThrow(/calibration data/)
  })
})

describe("a recipe", () => {
  test("is the same after it was written down", () => {
    const recipe = [quantize({ default: awq({ format: int(4, { group: 8 }), points: 5 }), rules: [on(/down/i, smooth({ alpha: 0.4, method: rtn({ format: nf4(), importance: "inputs" }) })), on("lm_head", keep())], sequence: "blocks" })]
    const written = JSON.parse(JSON.stringify(recipe)) as unknown
    expect(JSON.parse(JSON.stringify(parseRecipe(written)))).toEqual(written)
    const model = smallModel("llama")
    expect(JSON.stringify(plan(model, parseRecipe(written)))).toBe(JSON.stringify(plan(model, recipe)))
  })
  test("names what it does not know", () => {
    expect(() => parseRecipe({ stage: "quantise" })).toThrow(/quantise.*quantize/)
    expect(() => parseRecipe({ stage: "quantize", default: { method: "magic" } })).toThrow(/magic.*rtn/)
    expect(() => parseRecipe({ stage: "quantize", default: { method: "rtn", format: "inT4" } })).toThrow(/inT4/)
    expect(() => quantize({ rules: [on(() => true, keep())] }).toJSON()).toThrow(/function/)
  })
  test("names of formats lead back to them", () => {
    for (const f of formats) {
      const again = formatNamed(f.name)
      expect(again.name).toBe(f.name)
      expect([again.bits, again.group, again.storageBytes([4, 256])]).toEqual([f.bits, f.group, f.storageBytes([4, 256])])
    }
  })
})

describe("a job", () => {
  test("moves factors without changing what the model computes", async () => {
    for (const name of ["llama", "qwen2", "phi3", "gemma2", "gpt2", "gpt_neox", "phi", "qwen3"]) {
      const model = smallModel(name), before = await logits(model)
      // Sixteen bits of mantissa and no rounding: what is left is the factors.
      const exact: Method = { ...smooth({ alpha: 0.6, method: rtn(int(8)) }), target: (shape) => ({ format: "f32", bytes: 4 * shape[0] * shape[1] }), round: ({ values, shape }) => ({ stored: { format: "f32", parts: { values: { data: values, shape, dtype: "f32" } } } }) }
      const { model: moved } = await plan(model, quantize({ default: exact })).run(await data()).result
      const changed = Object.keys(model.vectors).filter((key) => moved.vectors[key] !== model.vectors[key])
      expect(changed.length, name).toBeGreaterThan(0)
      expect(farthest(await logits(moved), before), name).toBeLessThan(1e-4)
    }
  })
  test("gives the same bytes whether it is run at once, or ended and gone on with", async () => {
    const model = smallModel("llama"), texts = await data(), recipe = quantize({ default: awq({ format: int(3, { group: 8 }), points: 4 }), rules: [on("lm_head", rtn(int(8))), on("q_proj", gptq({ format: int(3, { group: 4 }), order: "activity" }))] })
    const whole = await bytes((await plan(model, recipe).run(texts).result).model)
    for (let stop = 1; stop < 16; stop += 3) {
      const checkpoint = join(folder, `stop${stop}`), control = new AbortController()
      let seen = 0
      await expect((async () => {
        for await (const e of plan(model, recipe).run(texts, { checkpoint, signal: control.signal })) if (e.kind === "matrix" && ++seen === stop) control.abort()
      })()).rejects.toThrow(/abort/i)
      const job = plan(model, recipe).run(texts, { checkpoint })
      let resumed = 0
      for await (const e of job) if (e.kind === "matrix" && e.resumed) resumed++
      expect(resumed).toBe(Math.floor(stop / 7) * 7)
      expect(await bytes((await job.result).model) === whole).toBe(true)
    }
  })
  test("reads a model that is still in its file block by block, and gives the same", async () => {
    const path = join(folder, "model"), recipe = quantize({ default: awq({ format: int(4, { group: 8 }), points: 4 }), rules: [on("o_proj", keep()), on("lm_head", rtn(int(8)))] })
    await saveModel(smallModel("llama"), path)
    const lazy = await loadModel(path, { lazy: true }), whole = await loadModel(path)
    expect(Object.values(lazy.parts())).toHaveLength(5)
    expect(lazy.bytes).toBe(whole.bytes)
    expect(() => lazy.forward(tensor([[1]], { dtype: "i32" }))).toThrow(/embed_tokens' is still in its file.*loaded/)
    for (const [i, r] of [recipe, quantize({ default: rtn(int(4)) }), prune({ default: pruned({ score: taylor(), pattern: unstructured(0.5) }) })].entries()) {
      const held = memory().devices.wasm!.bytes
      let most = 0
      const job = plan(lazy, r).run(await data(), { checkpoint: join(folder, `lazy ${i}`) })
      for await (const _ of job) most = Math.max(most, memory().devices.wasm!.bytes - held)
      const { model } = await job.result, expected = await bytes((await plan(whole, r).run(await data()).result).model)
      expect((await bytes(model)) === expected).toBe(true)
      // Never all of it: what is left out is the other block's matrices.
      expect(most).toBeLessThan(model.bytes + whole.bytes)
      // The checkpoint knows the model by what is in it, wherever it is.
      const again = plan(whole, r).run(await data(), { checkpoint: join(folder, `lazy ${i}`) })
      for await (const e of again) if (e.kind === "matrix") expect(e.resumed).toBe(true)
      expect((await bytes((await again.result).model)) === expected).toBe(true)
    }
    await saveModel(lazy, join(folder, "again.gguf"))
    expect((await bytes(await loadModel(join(folder, "again.gguf")))).length).toBeGreaterThan(1000)
    const file = await loadModel(join(folder, "again.gguf"), { lazy: true })
    expect(await logits(await file.loaded())).toEqual(await logits(await loadModel(join(folder, "again.gguf"))))
  })
  test("refuses a directory of other work, and says what differs", async () => {
    const checkpoint = join(folder, "other"), recipe = quantize({ default: rtn(int(8)) })
    await plan(smallModel("llama"), recipe).run(undefined, { checkpoint }).result
    await expect(plan(smallModel("llama"), quantize({ default: rtn(int(4)) })).run(undefined, { checkpoint }).result).rejects.toThrow(/its recipe/)
    await expect(plan(smallModel("llama", { rms_norm_eps: 1e-3 }), recipe).run(undefined, { checkpoint }).result).rejects.toThrow(/its model/)
    await writeFile(join(checkpoint, "job.json"), "{")
    await expect(plan(smallModel("llama"), recipe).run(undefined, { checkpoint }).result).rejects.toThrow(/job\.json/)
    expect((await readdir(checkpoint)).filter((f) => f.endsWith(".partial"))).toEqual([])
  })
  test.skipIf(process.platform !== "linux")("says that the disk is full, by the file's name, and goes on when it is not", async () => {
    const model = smallModel("llama"), recipe = quantize({ default: rtn(int(4, { group: 8 })) }), checkpoint = join(folder, "full"), part = join(checkpoint, "0-model.layers.1.safetensors")
    const whole = await bytes((await plan(model, recipe).run().result).model)
    await mkdir(checkpoint)
    // A device on which there is never room.
    await symlink("/dev/full", `${part}.partial`)
    const failed = plan(model, recipe).run(undefined, { checkpoint }).result
    await expect(failed).rejects.toThrow(/layers\.1\.safetensors: ENOSPC.*make room/)
    await expect(failed).rejects.toMatchObject({ code: "file" })
    const job = plan(model, recipe).run(undefined, { checkpoint }), seen: boolean[] = []
    for await (const e of job) if (e.kind === "matrix") seen.push(e.resumed)
    expect(seen.filter(Boolean)).toHaveLength(7)
    expect(await bytes((await job.result).model) === whole).toBe(true)
  })
  test("ends where inputs are not finite, and says where", async () => {
    const model = smallModel("llama"), broken = model.with({ "model.layers.0.mlp.up_proj": denseWeight(tensor(new Float32Array(24 * 16).fill(3e38), { shape: [24, 16] })) })
    await expect(plan(broken, quantize({ default: awq({ format: int(4, { group: 8 }) }) })).run(await data()).result).rejects.toThrow(/model\.layers\.0\.mlp\.down_proj is not finite in calibration sequences/)
  })
  test("refuses ids of another vocabulary", async () => {
    await expect(plan(smallModel("llama"), quantize({ default: awq({ format: int(4, { group: 8 }) }) })).run(await sequencesOf([[1, 99]])).result).rejects.toThrow(/token 99 of calibration sequence 0/)
  })
})
