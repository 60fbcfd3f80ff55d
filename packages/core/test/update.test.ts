import { describe, expect, test } from "vitest"
import { grad, mul, sum, tensor, updateSlice, vmap, zeros, type Tensor } from "../src/index.ts"

const x = tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
const places = (values: number[] | number): Tensor => tensor(values, { dtype: "i32" })
/** Not known to the host. */
const later = (t: Tensor): Tensor => t.mul(1)

describe("updateSlice", () => {
  test("replaces what the values cover and nothing else", async () => {
    expect(await updateSlice(x, tensor([[8, 9], [10, 11]]), { axis: 1, start: 1 }).tolist()).toEqual([[0, 8, 9, 3], [4, 10, 11, 7]])
    expect(await updateSlice(x, tensor([[8, 9, 10, 11]]), { start: places(1) }).tolist()).toEqual([[0, 1, 2, 3], [8, 9, 10, 11]])
    expect(await x.updateSlice(tensor([[8], [9]]), { axis: -1, start: -1 }).tolist()).toEqual([[0, 1, 2, 8], [4, 5, 6, 9]])
    expect(await updateSlice(x, zeros([2, 0]), { axis: 1, start: 4 }).tolist()).toEqual(await x.tolist())
  })
  test("starts at a place of its own for each of the first axes", async () => {
    expect(await updateSlice(x, tensor([[8, 9], [10, 11]]), { axis: 1, start: places([2, 0]) }).tolist()).toEqual([[0, 1, 8, 9], [10, 11, 6, 7]])
  })
  test("holds run-time places so that all values fit", async () => {
    expect(await updateSlice(x, tensor([[8, 9], [10, 11]]), { axis: 1, start: later(places([7, -3])) }).tolist()).toEqual([[0, 1, 8, 9], [10, 11, 6, 7]])
  })
  test("gives the gradient to the values, and to the target where they are not", async () => {
    const values = tensor([[8, 9], [10, 11]]), weights = tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    const [dx, dv] = grad(sum(mul(updateSlice(x, values, { axis: 1, start: places([2, 0]) }), weights)), [x, values])
    expect(await dx!.tolist()).toEqual([[1, 2, 0, 0], [0, 0, 7, 8]])
    expect(await dv!.tolist()).toEqual([[3, 4], [5, 6]])
  })
  test("of one place, mapped, is that of a place for each", async () => {
    const one = vmap((t: Tensor, v: Tensor, start: Tensor) => updateSlice(t, v, { start }))
    expect(await one(x, tensor([[8], [9]]), places([3, 1])).tolist()).toEqual([[0, 1, 2, 8], [4, 9, 6, 7]])
    const shared = vmap((v: Tensor, start: Tensor) => updateSlice(tensor([0, 0, 0]), v, { start }))
    expect(await shared(tensor([[8], [9]]), places([2, 0])).tolist()).toEqual([[0, 0, 8], [9, 0, 0]])
  })
})
