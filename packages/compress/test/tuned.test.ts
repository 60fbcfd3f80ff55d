// What trains beside codes, and what pruning left.
import { grad, loadState, quantizeWeight, randn, stateDict, sum, tensor, type Format, type Tensor, type Weight } from "@thimble/core"
import { open } from "../../kernels/src/index.ts"
import { beforeAll, describe, expect, test } from "vitest"
import { smallModel } from "../../models/test/random-model.ts"
import { affine, convert, int, mx, prepare, masked, ternary, tuned, type QuantizedFormat } from "../src/index.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})
const shape = [6, 21] as const
const matrix = async (seed = 3): Promise<Float32Array> => (await randn(shape, { seed }).mul(0.3).data()) as Float32Array
const numbers = async (t: Tensor): Promise<number[]> => [...(await t.data())]

/** Formats with one number for the scale of a group, and one for its minimum. */
const formats: Readonly<Record<string, QuantizedFormat>> = {
  "int4, ragged groups": int(4, { group: 8 }), "int2, rows": int(2, { scales: "bf16" }), "int3, whole": int(3, { group: "tensor" }), "uint2": int(2, { range: "asymmetric", group: 7, scales: "f32" }),
  "affine3": affine(3, { group: 7 }), "ternary": ternary({ group: 8 }),
}
describe.each(Object.entries(formats))("%s", (_, format) => {
  const made = async (): Promise<Weight> => tuned(format).prepared(quantizeWeight(format, await matrix(), shape), "w", {})

  test("is the stored matrix, and what is stored again is it, to the bit", async () => {
    const packed = quantizeWeight(format, await matrix(), shape), weight = await tuned().prepared(packed, "w", {})
    const before = await numbers(packed.dense())
    expect(await numbers(weight.dense())).toEqual(before)
    expect(await numbers((await weight.stored()).dense())).toEqual(before)
    expect(Object.values(weight.parts()).map((t) => t.size)).toEqual(Object.values(packed.parts()).map((t) => t.size))
  })
  test("only scales and minima have gradients, and those are sums over their groups of what codes stand for", async () => {
    const weight = await made(), dy = await matrix(9), parts = weight.parts(), floats = Object.keys(parts).filter((n) => parts[n]!.dtype === "f32")
    const upstream = tensor(dy, { shape }), of = async (name: string): Promise<number[]> => numbers(grad(sum(weight.dense().mul(upstream)), [parts[name]!])[0]!)
    // The matrix is linear in each: what it changes by if one of them grows by 1.
    for (const name of floats) {
      const found = await of(name), dense = await numbers(weight.dense()), values = await numbers(parts[name]!)
      for (const at of [0, values.length - 1]) {
        // By a step that f16 and bf16 hold exactly.
        const grown = tensor(Float32Array.from(values, (v, i) => (i === at ? 2 * v : v)), { shape: parts[name]!.shape })
        const after = await numbers((weight.withParts({ ...parts, [name]: grown }) as Weight).dense())
        const change = after.reduce((n, v, i) => n + (v - dense[i]!) * dy[i]!, 0)
        expect(found[at]! * values[at]!).toBeCloseTo(change, 4)
      }
    }
    expect(floats.length).toBe("min" in format && format.min !== undefined ? 2 : 1)
  })
})

test("formats whose scales are more than a number are refused, with the matrix's name", async () => {
  const w = quantizeWeight(mx("int8"), await matrix(), shape)
  await expect(tuned().prepared(w, "lm_head", {})).rejects.toThrow("tuned: lm_head is stored in")
  const model = smallModel("llama")
  await expect(prepare(model, { default: tuned() })).rejects.toThrow("is not stored in a format; name one: tuned(int(4))")
})

test("codes stay the same through training and storing", async () => {
  const format = int(2, { group: 8 }), model = smallModel("llama"), prepared = await prepare(model, { default: tuned(format), rules: [["embed_tokens", "keep"]] })
  const name = "model.layers.0.mlp.up_proj", state = stateDict(prepared)
  const moved = Object.fromEntries(Object.entries(state).map(([path, t]) => [path, path.endsWith("scales") ? t.mul(1.5) : t]))
  const small = await convert(loadState(prepared, moved))
  const [before, after] = [quantizeWeight(format, (await model.weights[name]!.dense().data()) as Float32Array, model.weights[name]!.shape), small.weights[name]!]
  expect((after.storage as Format).name).toBe(format.name)
  for (const part of Object.keys(before.parts())) {
    const [a, b] = [await numbers(before.parts()[part]!), await numbers(after.parts()[part]!)]
    if (part === "scales") expect(b).not.toEqual(a)
    else expect(b).toEqual(a)
  }
  expect(after.bytes).toBe(before.bytes)
})

test("what pruning took away stays away: no gradient reaches it, and nothing puts it back", async () => {
  const model = smallModel("llama"), name = "model.layers.0.mlp.up_proj", prepared = await prepare(model, { rules: [["up_proj", masked(0.5)]], default: "keep" })
  const weight = prepared.weights[name]!, values = await numbers(weight.dense()), original = await numbers(model.weights[name]!.dense())
  const columns = weight.shape[1], gone = values.map((v, i) => v === 0 && original[i] !== 0)
  for (let r = 0; r < weight.shape[0]; r++) {
    const row = original.slice(r * columns, (r + 1) * columns).map(Math.abs), lost = gone.slice(r * columns, (r + 1) * columns)
    expect(lost.filter(Boolean).length).toBe(columns / 2)
    expect(Math.max(...row.filter((_, i) => lost[i]))).toBeLessThanOrEqual(Math.min(...row.filter((_, i) => !lost[i])))
  }
  const g = await numbers(grad(sum(weight.dense()), [weight.parts().values!])[0]!)
  expect(g).toEqual(gone.map((x) => (x ? 0 : 1)))
  const state = stateDict(prepared), moved = Object.fromEntries(Object.entries(state).map(([path, t]) => [path, path === `${name}.values` || path.endsWith("values") ? t.add(1) : t]))
  const stored = (await convert(loadState(prepared, moved))).weights[name]!
  expect((await numbers(stored.dense())).map((v) => v === 0)).toEqual(gone)
  // What was pruned by other means keeps its zeros, too.
  const again = await masked().prepared(stored, name, {})
  expect((await numbers(again.dense())).map((v) => v === 0)).toEqual(gone)
  await expect(masked().prepared(stored, name, { activations: "int8" })).rejects.toThrow("activations are not f32")
})
