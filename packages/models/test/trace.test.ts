import { matmul, sum, tensor, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { beforeAll, describe, expect, test } from "vitest"
import type { Traced } from "../src/index.ts"
import { small, smallEncoders, smallModel } from "./random-model.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})
const close = async (a: Tensor, b: Tensor): Promise<void> => {
  const [x, y] = [await a.data(), await b.data()]
  expect(Math.max(...x.map((v, i) => Math.abs(v - y[i]!)))).toBeLessThan(2e-5)
}

describe.each([...Object.keys(small), ...Object.keys(smallEncoders)])("%s", (name) => {
  test("the trace is what the blocks compute: streams, and attention as shares of the values", async () => {
    const model = smallModel(name), ids = tensor([[3, 9, 1, 30, 7, 2, 11]], { dtype: "i32" }), seen: Traced[] = []
    const inputs = new Map<string, Tensor>()
    const logits = model.forward(ids, { trace: (layer, t) => void (seen[layer] = t), observe: (path, x) => void inputs.set(path, x) })
    await close(logits, model.forward(ids))
    await close(seen[0]!.before, model.embed(ids))
    const { heads, kvHeads, headSize } = model.config
    for (const { path, layer, forward, linears } of model.blocks()) {
      const t = seen[layer]!, map = t.attention()
      await close(t.after, forward(t.before))
      if (layer > 0) await close(t.before, seen[layer - 1]!.after)
      expect([t.queries.shape, t.keys.shape, t.values.shape, map.shape]).toEqual([[1, heads, 7, headSize], [1, kvHeads, 7, headSize], [1, kvHeads, 7, headSize], [1, heads, 7, 7]])
      for (const share of await sum(map, { axis: -1 }).data()) expect(share).toBeCloseTo(1, 5)
      // What goes into the output matrix is the values' mixture by the map.
      const output = linears.find((l) => /(o_proj|out_lin|c_proj|attention\.output\.dense|self_attn\.dense|attention\.dense)$/.test(l) && !/mlp/.test(l))!
      expect(output).toContain(path)
      const mixed = matmul(map.reshape([1, kvHeads, (heads / kvHeads) * 7, 7]), t.values).reshape([1, heads, 7, headSize]).permute([0, 2, 1, 3]).reshape([1, 7, heads * headSize])
      await close(mixed, inputs.get(output)!)
    }
  })
})
test("padding is hidden from attention maps, too", async () => {
  const model = smallModel("bert"), maps: Tensor[] = []
  model.hidden(tensor([[3, 9, 0, 0]], { dtype: "i32" }), { mask: tensor([[1, 1, 0, 0]], { dtype: "i32" }), trace: (_, t) => void maps.push(t.attention()) })
  for (const map of maps) expect(await sum(map.narrow(-1, 2, 2)).item()).toBe(0)
})
