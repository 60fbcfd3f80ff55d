import { describe, expect, test } from "vitest"
import { add, arange, compile, gather, grad, indexTensor, mul, narrow, oneHot, reshape, scatter, scatterAdd, sum, take, tensor, zeros } from "../src/index.ts"

const ints = (values: number[] | number[][]) => tensor(values, { dtype: "i32" })
const x = tensor([[1, 2, 3], [4, 5, 6]])

describe("gather and scatterAdd", () => {
  test("are each other's transpose: ⟨gather(x), y⟩ = ⟨x, scatterAdd(y)⟩, and so are their gradients", async () => {
    const index = ints([[0, 2, 2, 1], [1, 1, 0, 0]])
    const y = tensor([[1, 10, 100, 1000], [2, 20, 200, 2000]])
    const left = sum(mul(gather(x, 1, index), y)), right = sum(mul(x, scatterAdd(y, index, 1, 3)))
    expect(await left.item()).toBe(await right.item())
    const [dx] = grad(left, [x]), [dy] = grad(right, [y])
    expect(await dx!.tolist()).toEqual(await scatterAdd(y, index, 1, 3).tolist())
    expect(await dy!.tolist()).toEqual(await gather(x, 1, index).tolist())
  })
  test("an index along other axes may be smaller; what it leaves out has no gradient", async () => {
    const [dx] = grad(sum(gather(x, 0, ints([[1, 0]]))), [x])
    expect(await dx!.tolist()).toEqual([[0, 1, 0], [1, 0, 0]])
  })
  test("take reads with an index of any shape, also of unsigned bytes", async () => {
    const rows = take(x, tensor(new Uint8Array([1, 0]), { shape: [2, 1] }))
    expect(rows.shape).toEqual([2, 1, 3])
    expect(await rows.tolist()).toEqual([[[4, 5, 6]], [[1, 2, 3]]])
    expect(await take(x, ints([2]), 1).tolist()).toEqual([[3], [6]])
    expect(take(zeros([3, 0]), ints([1, 1])).shape).toEqual([2, 0])
    expect(take(zeros([0, 2]), zeros([0], "i32")).shape).toEqual([0, 2])
  })
  test("indices the host does not know: reads outside give NaN or the smallest integer, writes outside are dropped", async () => {
    const far = add(ints([-1, 0, 3]), 0)
    expect(await take(tensor([7, 8, 9]), far).tolist()).toEqual([NaN, 7, NaN])
    expect(await take(ints([7, 8, 9]), far).tolist()).toEqual([-2147483648, 7, -2147483648])
    expect(await scatterAdd(tensor([1, 2, 3]), far, 0, 3).tolist()).toEqual([2, 0, 0])
    const look = compile((table: typeof x, at: typeof x) => take(table, at))
    expect(await (await look(x, ints([1, 2]))).tolist()).toEqual([[4, 5, 6], [NaN, NaN, NaN]])
  })
  test("NaN goes only where its index points", async () => {
    expect(await scatterAdd(tensor([NaN, 1, 2]), ints([1, 0, 0]), 0, 3).tolist()).toEqual([3, NaN, 0])
  })
  test("f16 is summed in f32 and narrowed once", async () => {
    const ones = tensor(Array.from({ length: 4097 }, () => 1), { dtype: "f16" })
    expect(await scatterAdd(ones, zeros([4097], "i32"), 0, 1).tolist()).toEqual([4096])
  })
})

describe("scatter", () => {
  test("keeps the last of several writers, which alone gets the gradient", async () => {
    const base = tensor([1, 2, 3]), src = tensor([10, 20, 30])
    const y = scatter(base, 0, ints([2, 0, 2]), src)
    expect(await y.tolist()).toEqual([20, 2, 30])
    const [dBase, dSrc] = grad(sum(y), [base, src])
    expect(await dBase!.tolist()).toEqual([0, 1, 0])
    expect(await dSrc!.tolist()).toEqual([0, 1, 1])
  })
  test("takes a number", async () => expect(await scatter(x, 1, ints([[1]]), 9).tolist()).toEqual([[1, 9, 3], [4, 5, 6]]))
})

describe("indexTensor", () => {
  const cube = reshape(arange(24), [2, 3, 4])
  test("puts neighbouring indices where the first stood, others in front", async () => {
    const i = ints([[1], [0]]), j = ints([0, -1])
    expect(await indexTensor(cube, [null, i, j]).tolist()).toEqual([[[4, 7], [0, 3]], [[16, 19], [12, 15]]])
    expect(indexTensor(cube, [ints([0]), null, ints([1, 2, 3])]).shape).toEqual([3, 3])
    expect(indexTensor(cube, [null, ints([0, 0])]).shape).toEqual([2, 2, 4])
  })
  test("unknown indices outside any axis give the smallest integer, also where the flat position exists", async () => {
    const row = add(ints([0, 1]), 0), column = add(ints([4, -4]), 0)
    expect(await indexTensor(reshape(arange(12), [3, 4]), [row, column]).tolist()).toEqual([-2147483648, 4])
  })
})

test("oneHot of an unknown index outside the classes is a zero row", async () => {
  expect(await oneHot(add(ints([1, 5]), 0), 3).tolist()).toEqual([[0, 1, 0], [0, 0, 0]])
})

test("indices that a view leaves out do not count", async () => {
  const pairs = tensor([[0, 8], [2, -1], [1, 99]], { dtype: "i32" }), x = tensor([10, 20, 30])
  expect([...await take(x, reshape(narrow(pairs, 1, 0, 1), [3])).data()]).toEqual([10, 30, 20])
  // Those that are there are looked at when they are read.
  expect([...await take(x, reshape(narrow(pairs, 1, 1, 1), [3])).data()]).toEqual([NaN, NaN, NaN])
})
