import { describe, expect, test } from "vitest"
import { checkpoint, explain, grad, randn, realize, sum, type Tensor } from "../src/index.ts"

/** Bytes of the memory that a program shares among its temporaries. */
const planned = (...outputs: Tensor[]): number => explain(...outputs).match(/places: (.*)$/)![1]!.split(" ").reduce((n, b) => n + Number(b), 0)

describe("checkpoints", () => {
  /** Blocks of several steps each, with parameters as operands; `wrap` runs each block. */
  async function chain(wrap: (fn: (x: Tensor, w: Tensor, v: Tensor) => Tensor) => (x: Tensor, w: Tensor, v: Tensor) => Tensor): Promise<Tensor[]> {
    let x = randn([64, 16], { seed: 1 })
    const parameters = Array.from({ length: 16 }, (_, i) => randn([16, 16], { seed: 2 + i }).mul(0.2))
    await realize(x, ...parameters)
    const block = wrap((x, w, v) => x.add(x.matmul(w).exp().sin().matmul(v).tanh().sin()))
    for (let i = 0; i < 8; i++) x = block(x, parameters[2 * i]!, parameters[2 * i + 1]!)
    return grad(sum(x), parameters)
  }
  test("give the same gradients, and what a block computes again is gone before the next, also where parameters' gradients are wanted", async () => {
    const plain = await chain((fn) => fn), again = await chain((fn) => checkpoint(fn as (...src: Tensor[]) => Tensor))
    // Eight blocks keep several values each; recomputed ones keep what goes into them, and the values of one.
    expect(planned(...again)).toBeLessThan(0.6 * planned(...plain))
    for (const [i, g] of again.entries()) {
      const [a, b] = [await g.data(), await plain[i]!.data()]
      a.forEach((v, j) => expect(v).toBeCloseTo(b[j]!, 4))
    }
  })
})
