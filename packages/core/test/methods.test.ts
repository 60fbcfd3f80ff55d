import { describe, expect, test } from "vitest"
import * as core from "../src/index.ts"
import { tensor, Tensor, type Lifted } from "../src/index.ts"
import * as ops from "../src/ops/index.ts"

describe("methods", () => {
  test("take the tensor as the first argument of the function of their name", async () => {
    const x = tensor([[1, 2], [3, 4]])
    expect(await x.add(1).mul(x).tolist()).toEqual([[2, 6], [12, 20]])
    expect(await x.matmul(x).sum({ axis: 0 }).tolist()).toEqual([22, 32])
    expect(x.cast("i32").dtype).toBe("i32")
    expect(x.castTo("f16").dtype).toBe("f16")
  })
  test("are there for every function that takes a tensor first, and for no other", () => {
    type Misfit = { [K in keyof Lifted]: (typeof ops)[K] extends (x: Tensor, ...rest: never[]) => unknown ? never : K }[keyof Lifted]
    const complete: [Misfit] extends [never] ? true : Misfit = true
    expect(complete).toBe(true)
    const methods = Object.getOwnPropertyNames(Tensor.prototype).filter((n) => n in ops)
    expect(methods.length).toBeGreaterThan(80)
    for (const name of methods) expect(core).toHaveProperty(name)
    expect("zeros" in Tensor.prototype || "cat" in Tensor.prototype).toBe(false)
  })
  test("T exchanges the last two axes and leaves vectors alone", async () => {
    expect(await tensor([[1, 2, 3]]).T.tolist()).toEqual([[1], [2], [3]])
    const v = tensor([1, 2])
    expect(v.T).toBe(v)
  })
  test("do not show up when a tensor is spread or listed", () => {
    expect(Object.keys(tensor([1]))).not.toContain("add")
  })
})
