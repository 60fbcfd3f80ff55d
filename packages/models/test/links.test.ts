import { denseWeight, tensor, type Tensor, type Weight } from "@thimble/core"
import { open } from "@thimble/kernels"
import { beforeAll, describe, expect, test } from "vitest"
import { architectures, type Channels, type Model, type Part } from "../src/index.ts"
import { small, smallModel } from "./random-model.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
  ids = tensor(Int32Array.from([3, 9, 1, 30, 22, 7]), { shape: [1, 6] })
})

let ids: Tensor
const logits = async (model: Model): Promise<Float32Array> => (await model.forward(ids).data()) as Float32Array
const apart = (a: Float32Array, b: Float32Array): number => Math.max(...a.map((v, i) => Math.abs(v - b[i]!))) / Math.max(...a.map(Math.abs))

/** Matrices and vectors of a model on the host, to be changed. */
async function onHost(model: Model): Promise<{ matrices: Record<string, { shape: readonly [number, number]; data: Float32Array }>; vectors: Record<string, Float32Array>; model(): Model }> {
  const matrices = Object.fromEntries(await Promise.all(Object.entries(model.weights).map(async ([name, w]) => [name, { shape: w.shape, data: (await w.dense().data()).slice() as Float32Array }] as const)))
  const vectors = Object.fromEntries(await Promise.all(Object.entries(model.vectors).map(async ([name, t]) => [name, (await t.data()).slice() as Float32Array] as const)))
  return {
    matrices, vectors,
    model: () => model.with(Object.fromEntries<Weight | Tensor>([
      ...Object.entries(matrices).map(([name, { shape, data }]): [string, Weight] => [name, denseWeight(tensor(data, { shape }))]),
      ...Object.entries(vectors).map(([name, data]): [string, Tensor] => [name, tensor(data)]),
    ])),
  }
}
const rowsOf = ({ rows }: Part, all: number): number[] => (rows ?? [[0, all]]).flatMap(([begin, end]) => Array.from({ length: end - begin }, (_, i) => begin + i))

describe.each(Object.keys(small))("%s", (name) => {
  const onePlus = architectures.find((a) => a.name === name)!.onePlus === true

  test("fold: what one gives less, the others take more of", async () => {
    const model = smallModel(name)
    const before = await logits(model), host = await onHost(model), { matrices, vectors } = host
    for (const { links } of model.blocks()) {
      for (const { from, into, repeat } of links.fold) {
        const norm = vectors[`${from.path}.weight`], matrix = matrices[from.path], bias = vectors[`${from.path}.bias`]
        const rows = rowsOf(from, matrix?.shape[0] ?? norm!.length), scale = rows.map((_, i) => 0.5 + ((i * 7) % 5) / 3)
        rows.forEach((row, i) => {
          if (norm) norm[row] = onePlus ? (1 + norm[row]!) / scale[i]! - 1 : norm[row]! / scale[i]!
          else for (let c = 0; c < matrix!.shape[1]; c++) matrix!.data[row * matrix!.shape[1] + c]! /= scale[i]!
          if (bias) bias[row]! /= scale[i]!
        })
        const spread = repeat === undefined ? scale : scale.flatMap((_, i) => (i % repeat.size === 0 ? Array.from({ length: repeat.times }, () => scale.slice(i, i + repeat.size)).flat() : []))
        for (const part of into) {
          const { data, shape: [, columns] } = matrices[part.path]!
          expect([part.path, columns]).toEqual([part.path, spread.length])
          data.forEach((_, i) => (data[i]! *= spread[i % columns]!))
        }
      }
    }
    expect(apart(await logits(host.model()), before)).toBeLessThan(1e-4)
  })

  test("channels can change places", async () => {
    const model = smallModel(name)
    const before = await logits(model), host = await onHost(model), { matrices, vectors } = host
    for (const { links } of model.blocks()) {
      for (const { count, rows, columns } of links.channels) {
        const order = Array.from({ length: count }, (_, i) => (i + 1) % count)
        /** Element number i of a part comes from here. */
        const moved = ({ size }: Channels, i: number): number => order[Math.floor(i / size)]! * size + (i % size)
        for (const part of rows) {
          const { data, shape: [all, width] } = matrices[part.path]!, own = rowsOf(part, all), old = data.slice(), bias = vectors[`${part.path}.bias`], oldBias = bias?.slice()
          expect([part.path, own.length]).toEqual([part.path, count * part.size])
          own.forEach((row, i) => {
            const from = own[moved(part, i)]!
            data.set(old.subarray(from * width, (from + 1) * width), row * width)
            if (bias) bias[row] = oldBias![from]!
          })
        }
        for (const part of columns) {
          const { data, shape: [, width] } = matrices[part.path]!, old = data.slice()
          expect([part.path, width]).toEqual([part.path, count * part.size])
          data.forEach((_, i) => (data[i] = old[i - (i % width) + moved(part, i % width)]!))
        }
      }
    }
    expect(apart(await logits(host.model()), before)).toBeLessThan(1e-4)
  })

  test("block by block is the whole, and what goes into each matrix is seen", async () => {
    const model = smallModel(name)
    const seen = new Map<string, readonly number[]>(), whole = new Map<string, Tensor>()
    const all = model.forward(ids, { observe: (path, x) => void whole.set(path, x) })
    let x = model.embed(ids)
    for (const block of model.blocks()) {
      const own: string[] = []
      x = block.forward(x, { observe: (path, input) => (own.push(path), seen.set(path, input.shape)) })
      expect(own.sort()).toEqual([...block.linears].sort())
      expect(own.every((path) => path.startsWith(`${block.path}.`))).toBe(true)
    }
    expect(await model.head(x).data()).toEqual(await all.data())
    for (const [path, shape] of seen) expect([path, shape]).toEqual([path, [1, 6, model.weights[path]!.shape[1]]])
    const [first] = model.blocks()[1]!.linears
    expect([...whole.keys()].length).toBe(seen.size + 1)
    expect((await whole.get(first!)!.data()).every(Number.isFinite)).toBe(true)
  })
})
