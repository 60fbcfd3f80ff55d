import { expect } from "vitest"
import { grad, mul, randn, sum, tensor, type Tensor } from "../src/index.ts"

/** Reproducible f64 matrices. */
export const noise = (shape: readonly number[], seed: number): Tensor => randn(shape, { seed, dtype: "f64" })

/** Largest difference of two tensors. */
export async function apart(a: Tensor, b: Tensor): Promise<number> {
  expect(a.shape).toEqual(b.shape)
  const x = await a.data(), y = await b.data()
  let most = 0
  // A NaN is as far away as can be.
  for (let i = 0; i < x.length; i++) most = Math.max(most, Number.isNaN(x[i]! - y[i]!) ? Infinity : Math.abs(x[i]! - y[i]!))
  return most
}

/** Compares the gradients of a random weighting of the results with central differences, in f64. */
export async function checkGradients(fn: (...x: Tensor[]) => Tensor | readonly Tensor[], at: readonly Tensor[], tolerance = 1e-6): Promise<void> {
  const loss = (x: readonly Tensor[]): Tensor =>
    [fn(...x)].flat().map((y: Tensor, i) => sum(mul(y, noise(y.shape, 900 + i)))).reduce((a, b) => a.add(b))
  const values = await Promise.all(at.map(async (x) => [...(await x.data())]))
  const found = grad(loss(at), at)
  for (const [n, x] of at.entries()) {
    const g = await found[n]!.data()
    for (let i = 0; i < x.size; i++) {
      const step = 1e-5
      const moved = async (by: number): Promise<number> => {
        const list = values[n]!.map((v, j) => (j === i ? v + by : v))
        return loss(at.map((y, m) => (m === n ? tensor(list, { shape: x.shape, dtype: "f64" }) : y))).item()
      }
      const slope = ((await moved(step)) - (await moved(-step))) / (2 * step)
      expect(Math.abs(g[i]! - slope), `operand ${n}, element ${i}: ${g[i]} instead of ${slope}`).toBeLessThan(tolerance * Math.max(1, Math.abs(slope)))
    }
  }
}
