import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { denseWeight, quantizeWeight, tensor, ThimbleError, type Tensor } from "@thimble/core"
import { open } from "../../kernels/src/index.ts"
import { readConfig, type Model } from "@thimble/models"
import { foldNorms, int, rotate, rotation, type RotationKind } from "../src/index.ts"
import { fill } from "../src/laws/values.ts"
import { randomModel, small, smallEncoders, smallModel } from "../../models/test/random-model.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
  ids = tensor(Int32Array.from([3, 9, 1, 30, 22, 7]), { shape: [1, 6] })
})
let ids: Tensor
const logits = async (model: Model): Promise<Float32Array> => (await model.forward(ids).data()) as Float32Array
const apart = (a: Float32Array, b: Float32Array): number => Math.max(...a.map((v, i) => Math.abs(v - b[i]!))) / Math.max(...b.map(Math.abs))
const host = async (t: Tensor): Promise<Float32Array> => (await t.data()) as Float32Array

const kinds = ["hadamard", "randomHadamard", "orthogonal"] as const
const streams = ["llama", "mistral", "qwen2", "qwen3", "phi3"] as const

describe("laws of rotations", () => {
  const sizes = fc.constantFrom(1, 2, 6, 12, 16, 18, 20, 27, 36, 40, 64, 100), kind = fc.constantFrom<RotationKind>(...kinds)
  test("lengths are kept, and what is done is undone", () => fc.assert(fc.property(sizes, kind, fc.integer(), (size, kind, seed) => {
    const x = Float64Array.from(fill("heavy", seed, [3, size])), y = x.slice(), q = rotation(size, { kind, seed })
    q.apply(y)
    const length = (v: Float64Array, r: number): number => Math.hypot(...v.subarray(r * size, (r + 1) * size))
    for (let r = 0; r < 3; r++) expect(Math.abs(length(y, r) - length(x, r))).toBeLessThanOrEqual(1e-12 * length(x, r))
    q.undo(y)
    const most = Math.max(...x.map(Math.abs))
    y.forEach((v, i) => expect(Math.abs(v - x[i]!)).toBeLessThanOrEqual(1e-12 * most))
  }), { numRuns: 60 }))
  test("QᵀQ = 1", () => {
    for (const size of [12, 18, 27]) for (const kind of kinds) {
      const q = rotation(size, { kind, seed: 5 }), rows = Float64Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0))
      q.apply(rows)
      for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) {
        let dot = 0
        for (let k = 0; k < size; k++) dot += rows[i * size + k]! * rows[j * size + k]!
        expect(Math.abs(dot - (i === j ? 1 : 0))).toBeLessThan(1e-12)
      }
    }
  })
  test("with a Hadamard matrix, no feature is larger than ‖x‖₁/√n", () => fc.assert(fc.property(fc.constantFrom(2, 12, 16, 20, 64), fc.integer(), (size, seed) => {
    const x = Float64Array.from(fill("heavy", seed, [1, size])), limit = x.reduce((s, v) => s + Math.abs(v), 0) / Math.sqrt(size)
    for (const kind of ["hadamard", "randomHadamard"] as const) {
      const y = x.slice(), q = rotation(size, { kind, seed })
      q.apply(y)
      expect([q.hadamard, q.orthogonal]).toEqual([size, 1])
      expect(Math.max(...y.map(Math.abs))).toBeLessThanOrEqual(limit * (1 + 1e-12))
    }
  }), { numRuns: 40 }))
  // 18 = 2 · 9, and no Hadamard matrix has order 18; 27 has no divisor but 1 that has one.
  test("sizes without a Hadamard matrix get a part of one, and say so", () => {
    expect(rotation(18)).toMatchObject({ hadamard: 2, orthogonal: 9, signs: true })
    expect(rotation(27, { kind: "hadamard" })).toMatchObject({ hadamard: 1, orthogonal: 27, signs: false })
    expect(rotation(64, { kind: "orthogonal" })).toMatchObject({ hadamard: 1, orthogonal: 64 })
    expect(() => rotation(0)).toThrow("rotation: size must be a whole number ≥ 1, got 0")
  })
})

describe("a rotated model is the same function", () => {
  test.each(streams.flatMap((name) => kinds.map((kind) => [name, kind] as const)))("%s, %s", async (name, kind) => {
    const model = smallModel(name), before = await logits(model), rotated = await rotate(model, { kind, seed: 3 })
    expect(apart(await logits(rotated.model), before)).toBeLessThan(1e-4)
    expect(rotated.stream).toMatchObject({ size: 16 })
    expect(rotated.folded).toHaveLength(5)
    expect(rotated.untied).toBe(model.config.tied)
    // Every matrix is another one, and the model that was given is as it was.
    for (const [path, weight] of Object.entries(model.weights)) expect(apart(await host(rotated.model.weights[path]!.dense()), await host(weight.dense()))).toBeGreaterThan(0.01)
    expect(apart(await logits(model), before)).toBeLessThan(1e-5)
  })
  test.each([...Object.keys(small), ...Object.keys(smallEncoders)])("%s: heads alone", async (name) => {
    const model = smallModel(name), rotated = await rotate(model, { parts: ["heads"], kind: "orthogonal" })
    expect(apart(await logits(rotated.model), await logits(model))).toBeLessThan(1e-4)
    expect([rotated.stream, rotated.heads!.size, rotated.folded]).toEqual([undefined, model.config.headSize, []])
    const changed: string[] = []
    for (const [path, weight] of Object.entries(model.weights)) if (apart(await host(rotated.model.weights[path]!.dense()), await host(weight.dense())) > 0.01) changed.push(path)
    // Values, alone or among queries and keys, and the output, in each of the two layers.
    expect(changed).toHaveLength(4)
  })
  test("with biases, a width and heads that no Hadamard matrix fits, and weights that are stored in few bits", async () => {
    const config = readConfig({ ...small.llama!, hidden_size: 36, num_attention_heads: 6, num_key_value_heads: 3, head_dim: 6, attention_bias: true, mlp_bias: true })
    const model = randomModel(config), path = "model.layers.0.mlp.down_proj"
    const packed = model.with({ [path]: quantizeWeight(int(4), await host(model.weights[path]!.dense()), model.weights[path]!.shape) })
    for (const m of [model, packed]) {
      const rotated = await rotate(m)
      expect(apart(await logits(rotated.model), await logits(m))).toBeLessThan(1e-4)
      expect(rotated.heads).toEqual({ size: 6, hadamard: 2, orthogonal: 3, signs: true })
    }
  })
  test("the same seed gives the same bytes, another one others", async () => {
    const model = smallModel("llama"), of = async (seed: number): Promise<Float32Array> => host((await rotate(model, { seed })).model.weights.lm_head!.dense())
    expect(await of(4)).toEqual(await of(4))
    expect(await of(4)).not.toEqual(await of(5))
  })
  test("norms without weights leave the head tied", async () => {
    const model = smallModel("qwen2"), plain = model.with(Object.fromEntries(Object.entries(model.vectors).filter(([name]) => name.includes("norm")).map(([name, v]) => [name, v.mul(0).add(1)])))
    const rotated = await rotate(plain)
    expect([rotated.untied, rotated.folded, rotated.model.config.tied]).toEqual([false, [], true])
    expect(apart(await logits(rotated.model), await logits(plain))).toBeLessThan(1e-4)
  })
})

describe("folding norms alone", () => {
  test.each([...streams, "gemma2"])("%s: the same function, with norms that do nothing", async (name) => {
    const model = smallModel(name), { model: folded, untied } = await foldNorms(model)
    expect(apart(await logits(folded), await logits(model))).toBeLessThan(1e-5)
    expect(untied).toBe(model.config.tied)
    const nothing = name === "gemma2" ? 0 : 1
    for (const norm of ["model.norm.weight", "model.layers.1.input_layernorm.weight"]) expect((await host(folded.vectors[norm]!)).every((v) => v === nothing)).toBe(true)
  })
})

test("what stands out is spread: a feature that all readers take ten times as much of costs them less in int4", async () => {
  const model = randomModel(readConfig({ ...small.llama!, hidden_size: 64, intermediate_size: 64 })), readers = ["self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj"].map((p) => `model.layers.0.${p}`)
  const loud = model.with(Object.fromEntries(await Promise.all(readers.map(async (path) => {
    const values = (await host(model.weights[path]!.dense())).slice()
    for (let i = 7; i < values.length; i += 64) values[i]! *= 10
    return [path, denseWeight(tensor(values, { shape: model.weights[path]!.shape }))] as const
  }))))
  // A rotation keeps the size of a matrix, and of its change: they can be compared.
  const cost = async (m: Model): Promise<number> => {
    let sum = 0
    for (const path of readers) {
      const values = await host(m.weights[path]!.dense()), q = int(4), { shape } = m.weights[path]!
      q.decode(q.encode(values, shape), shape).forEach((v, i) => (sum += (v - values[i]!) ** 2))
    }
    return sum
  }
  const { model: folded } = await foldNorms(loud)
  expect(await cost((await rotate(loud)).model)).toBeLessThan(0.4 * await cost(folded))
})

describe("what cannot be rotated says why", () => {
  test.each([
    ["gpt2", "its norms subtract the mean of all features"], ["gpt_neox", "its norms subtract"], ["phi", "its norms subtract"],
    ["bert", "it comes out of norms that multiply feature by feature"], ["distilbert", "it comes out of norms"],
    ["gemma2", "a norm, post_attention_layernorm, multiplies what blocks add to it feature by feature"],
  ])("%s", async (name, why) => {
    const error = await rotate(smallModel(name)).catch((e: unknown) => e) as ThimbleError
    expect([error instanceof ThimbleError, error.code, error.op]).toEqual([true, "value", "rotate"])
    expect(error.message).toContain(`rotate: the stream of ${name} cannot be rotated: ${why}`)
    expect(error.message).toContain('rotate only heads: { parts: ["heads"] }')
  })
  test("norms that subtract a mean are not folded", async () => expect(foldNorms(smallModel("gpt2"))).rejects.toThrow("foldNorms: gpt2 has norms with a mean and a bias"))
  test("progress, and an end to it", async () => {
    const seen: string[] = [], control = new AbortController(), model = smallModel("llama")
    await rotate(model, { onProgress: ({ done, total, path }) => seen.push(`${path} ${done}/${total}`) })
    expect(seen).toHaveLength(16)
    await expect(rotate(model, { signal: control.signal, onProgress: ({ done }) => done === 3 && control.abort() })).rejects.toThrow("aborted")
  })
})
