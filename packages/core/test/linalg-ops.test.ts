import { afterAll, beforeAll, describe, expect, test } from "vitest"
import {
  cholesky, choleskyInverse, currentDevice, determinant, eigh, explain, hadamardTransform, inverse, inverseUpperFactor, leastSquares, linalg, matmul,
  matrixRank, pseudoInverse, qr, realize, referenceDevice, slogdet, solve, solveTriangular, svd, tensor, tril, triu, useDevice, zeros, type Device, type Tensor,
} from "../src/index.ts"
import { open } from "../../kernels/src/index.ts"
import { apart, checkGradients, noise } from "./linalg-case.ts"

const eye = (n: number): Tensor => tensor(Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => Number(i === j))), { dtype: "f64" })
/** Symmetric positive definite. */
const definite = (n: number, seed: number, batch: readonly number[] = []): Tensor => {
  const a = noise([...batch, n, n], seed)
  return matmul(a, a.T).add(eye(n))
}
const withDiagonal = (s: Tensor): Tensor => eye(s.shape.at(-1)!).mul(s.unsqueeze(-2))

describe.each<[string, () => Promise<Device>]>([
  ["reference", () => Promise.resolve(referenceDevice())],
  ["wasm", () => open("wasm", { threads: 1 })],
])("linear algebra on %s", (_name, make) => {
  const outer = currentDevice()
  let device: Device
  beforeAll(async () => void useDevice((device = await make())))
  afterAll(async () => {
    useDevice(outer)
    await device.close()
  })

  test("an inverse times its matrix is the identity, for every matrix of a batch", async () => {
    const a = noise([2, 3, 4, 4], 1)
    expect(await apart(matmul(a, inverse(a)), eye(4).expand([2, 3, 4, 4]))).toBeLessThan(1e-12)
  })
  test("a solution solves its system; leading axes broadcast, a vector is a column", async () => {
    const a = noise([2, 1, 3, 3], 2), b = noise([4, 3, 2], 3), v = noise([3], 4)
    expect(solve(a, b).shape).toEqual([2, 4, 3, 2])
    expect(await apart(matmul(a, solve(a, b)), b.expand([2, 4, 3, 2]))).toBeLessThan(1e-12)
    expect(solve(a, v).shape).toEqual([2, 1, 3])
    expect(await apart(matmul(a, solve(a, v).unsqueeze(-1)).squeeze(-1), v.expand([2, 1, 3]))).toBeLessThan(1e-12)
  })
  test.each([["lower", "left", false], ["upper", "left", true], ["lower", "right", false], ["upper", "right", true]] as const)(
    "%s triangles are solved on the %s, transposed: %s; the other half is not read", async (triangle, side, transposed) => {
      const t = noise([2, 3, 3], 5).add(eye(3).mul(3)), b = noise([2, 3, 3], 6)
      const used = triangle === "lower" ? tril(t) : triu(t), op = transposed ? used.T : used
      const x = solveTriangular(t, b, { triangle, side, transposed })
      expect(await apart(side === "left" ? matmul(op, x) : matmul(x, op), b)).toBeLessThan(1e-12)
    })
  test("Cholesky factors multiply to the matrix; inverses come from them", async () => {
    const a = definite(4, 7, [3]), l = cholesky(a)
    expect(await apart(matmul(l, l.T), a)).toBeLessThan(1e-12)
    expect(await apart(l, tril(l))).toBe(0)
    expect(await apart(choleskyInverse(l), inverse(a))).toBeLessThan(1e-10)
    const u = inverseUpperFactor(a)
    expect(await apart(matmul(u.T, u), inverse(a))).toBeLessThan(1e-10)
  })
  test("determinants, and their sign and logarithm", async () => {
    const a = tensor([[[2, 1], [1, 3]], [[0, 1], [1, 0]], [[1, 2], [2, 4]]], { dtype: "f64" })
    expect([...(await determinant(a).data())].map((x) => Math.round(x * 1e12) / 1e12)).toEqual([5, -1, 0])
    const { sign, logAbs } = slogdet(a)
    expect([...(await sign.data())]).toEqual([1, -1, 0])
    expect((await logAbs.data())[0]).toBeCloseTo(Math.log(5), 12)
    expect((await logAbs.data())[2]).toBe(-Infinity)
  })
  test("QR, tall and wide, reduced and complete", async () => {
    for (const [m, n, size] of [[4, 3, "reduced"], [3, 4, "reduced"], [4, 2, "complete"]] as const) {
      const a = noise([2, m, n], m * n), { q, r } = qr(a, { size })
      expect(await apart(matmul(q, r), a)).toBeLessThan(1e-12)
      expect(await apart(matmul(q.T, q), eye(q.shape.at(-1)!).expand([2, q.shape[2]!, q.shape[2]!]))).toBeLessThan(1e-12)
      expect(await apart(r, triu(r))).toBe(0)
    }
  })
  test("eigenvectors are turned by nothing but their values, which ascend", async () => {
    const a = definite(4, 9, [2]), { values, vectors } = eigh(a)
    expect(await apart(matmul(a, vectors), vectors.mul(values.unsqueeze(-2)))).toBeLessThan(1e-12)
    const [w] = (await values.tolist()) as number[][]
    expect(w).toEqual([...w!].sort((x, y) => x - y))
  })
  test("singular values and vectors multiply to the matrix, tall and wide", async () => {
    for (const [m, n] of [[4, 2], [2, 4], [3, 3]] as const) {
      const a = noise([2, m, n], 10 + m), { u, s, vt } = svd(a)
      expect(await apart(matmul(matmul(u, withDiagonal(s)), vt), a)).toBeLessThan(1e-12)
    }
    const { u, s, vt } = svd(noise([5, 3], 11), { size: "full" })
    expect([u.shape, s.shape, vt.shape]).toEqual([[5, 5], [3], [3, 3]])
    expect(await apart(matmul(u, u.T), eye(5))).toBeLessThan(1e-12)
  })
  test("rank, pseudo-inverse and least squares of any rank", async () => {
    const thin = noise([2, 4, 1], 12), a = matmul(thin, noise([2, 1, 3], 13)), b = noise([2, 4, 2], 14)
    const rank = matrixRank(a)
    expect([rank.dtype, [...(await rank.data())]]).toEqual(["i32", [1, 1]])
    const p = pseudoInverse(a)
    expect(await apart(matmul(matmul(a, p), a), a)).toBeLessThan(1e-12)
    expect(await apart(leastSquares(a, b), matmul(p, b))).toBeLessThan(1e-12)
    expect(leastSquares(a, noise([4], 15)).shape).toEqual([2, 3])
    expect([...(await matrixRank(noise([3, 3], 16), { tolerance: 0.999 }).data())]).toEqual([1])
  })
  test("a Hadamard transform undoes itself, transposed where it is not symmetric", async () => {
    for (const size of [8, 12]) {
      const x = noise([3, size], size)
      const y = hadamardTransform(x, { scale: "orthonormal" })
      expect(await apart(hadamardTransform(y, { scale: "orthonormal", transposed: true }), x)).toBeLessThan(1e-12)
    }
    expect([...(await hadamardTransform(tensor([1, 2, 3, 4])).data())]).toEqual([10, -2, -4, 0])
  })
  test("f32 gives f32, and f64 wins over it", async () => {
    const a = definite(3, 17).cast("f32")
    expect([inverse(a).dtype, solve(a, noise([3, 1], 18)).dtype, svd(a).s.dtype]).toEqual(["f32", "f64", "f32"])
    expect(await apart(matmul(a, inverse(a)).cast("f64"), eye(3))).toBeLessThan(1e-4)
  })
  test("empty batches and empty matrices are fine", async () => {
    expect(await inverse(zeros([0, 3, 3])).tolist()).toEqual([])
    expect([...(await determinant(zeros([2, 0, 0])).data())]).toEqual([1, 1])
    expect(await svd(zeros([2, 0, 3])).u.tolist()).toEqual([[], []])
    expect(hadamardTransform(zeros([2, 0])).shape).toEqual([2, 0])
  })
  test("one routine serves all results, and works on a fused operand", async () => {
    const { u, s, vt } = svd(noise([4, 3], 19).mul(2).add(1))
    expect(explain(u, s, vt).match(/routine svd/g)).toHaveLength(1)
    await realize(u, s, vt)
  })
  test("a failure is thrown where the value is read, with the pivot and the matrix", async () => {
    const a = tensor([[[1, 0], [0, 1]], [[1, 2], [2, 4]]])
    await expect(inverse(a).data()).rejects.toThrow("inverse: the matrix must have full rank, pivot 1 is 0; leastSquares and pseudoInverse take any rank (matrix 1 of 2)")
    const bad = await cholesky(tensor([[1, 0], [0, -4]])).data().catch((e: unknown) => e)
    expect(bad).toBeInstanceOf(linalg.NotPositiveDefinite)
    expect(bad).toMatchObject({ code: "numeric", pivot: 1, value: -4, matrix: 0 })
    await expect(svd(tensor([[1, NaN], [0, 1]])).s.data()).rejects.toThrow("svd: elements must be finite, element 1 is NaN")
    await expect(solveTriangular(tensor([[1, 0], [0, 0]]), tensor([1, 1])).data()).rejects.toMatchObject({ op: "solveTriangular", pivot: 1 })
    await expect(solve(tensor([[0, 0], [0, 0]]), tensor([1, 1])).data()).rejects.toMatchObject({ op: "solve", code: "numeric", pivot: 0 })
    expect([...(await inverse(tensor([[2]])).data())]).toEqual([0.5])
  })
})

describe("gradients of linear algebra", () => {
  const a = noise([2, 3, 3], 20), b = noise([2, 3, 2], 21)
  const spd = (x: Tensor): Tensor => matmul(x, x.T).add(eye(3))
  const cases: readonly [string, (...x: Tensor[]) => Tensor | readonly Tensor[], readonly Tensor[]][] = [
    ["inverse", inverse, [a]],
    ["solve", solve, [a, b]],
    ["solve, broadcast", solve, [noise([3, 3], 22), b]],
    ["determinant", determinant, [a]],
    ["slogdet", (x) => slogdet(x).logAbs, [a]],
    ["cholesky", (x) => cholesky(spd(x)), [a]],
    ["choleskyInverse", choleskyInverse, [tril(a).add(eye(3).mul(3))]],
    ["solveTriangular", (t, y) => solveTriangular(t, y), [a.add(eye(3).mul(4)), b]],
    ["solveTriangular, upper, transposed", (t, y) => solveTriangular(t, y, { triangle: "upper", transposed: true }), [a.add(eye(3).mul(4)), b]],
    ["solveTriangular, right", (t, y) => solveTriangular(t, y, { side: "right" }), [a.add(eye(3).mul(4)), b.T]],
    ["solveTriangular, right, upper, transposed, unit", (t, y) => solveTriangular(t, y, { side: "right", triangle: "upper", transposed: true, unitDiagonal: true }), [a, b.T]],
    ["qr, tall", (x) => Object.values(qr(x)), [noise([4, 3], 23)]],
    ["qr, wide", (x) => Object.values(qr(x)), [noise([2, 4], 24)]],
    ["eigh", (x) => Object.values(eigh(spd(x))), [a]],
    ["svd, tall", (x) => Object.values(svd(x)), [noise([4, 3], 25)]],
    ["svd, wide", (x) => Object.values(svd(x)), [noise([2, 4], 26)]],
    ["pseudoInverse", (x) => pseudoInverse(x), [noise([4, 2], 27)]],
    ["pseudoInverse of rank 1", (x, y) => pseudoInverse(matmul(x, y)), [noise([3, 1], 28), noise([1, 4], 29)]],
    ["leastSquares", (x, y) => leastSquares(x, y), [noise([4, 2], 30), noise([4, 2], 31)]],
    ["hadamardTransform", (x) => hadamardTransform(x), [noise([2, 12], 32)]],
  ]
  test.each(cases)("%s", async (_name, fn, at) => checkGradients(fn, at))

  test("values alone have gradients where values are equal", async () => {
    const same = eye(3)
    const { values } = eigh(same), { s } = svd(same)
    expect(await apart(values.sum().add(s.sum()).mul(1), tensor(6, { dtype: "f64" }))).toBeLessThan(1e-12)
    await checkGradients((x) => eigh(x).values.sum(), [same])
    await checkGradients((x) => svd(x).s.sum(), [same])
  })
  test("of an inverse can be differentiated again", async () => {
    const { grad, sum, square } = await import("../src/index.ts")
    await checkGradients((x) => grad(sum(square(inverse(x))), [x])[0]!, [noise([2, 2], 33)])
  })
})
