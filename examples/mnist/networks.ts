import { conv2d, gelu, linear, maxPool2d, random, realize, type Tensor } from "@thimble/core"
import { network, type Network } from "@thimble/distill"
import { places, side } from "./digits.ts"

export type Layers = Readonly<Record<string, Tensor>>

/** Matrices and filters of He's deviation (arXiv:1502.01852), and biases of 0. */
async function layers(shapes: Readonly<Record<string, readonly number[]>>, seed: number): Promise<Layers> {
  const key = random.key(seed)
  const made = Object.fromEntries(Object.entries(shapes).map(([name, shape], i) => [name, random.normal(random.foldIn(key, i), shape, { std: shape.length === 1 ? 0 : Math.sqrt(2 / shape.slice(1).reduce((a, b) => a * b)) })]))
  await realize(...Object.values(made))
  return made
}

/** Two convolutions of 5 × 5, each halved in size, and two linear layers. */
export const convolutional = async (seed: number): Promise<Network<Layers>> => network({
  parameters: await layers({ c1: [16, 1, 5, 5], b1: [16], c2: [48, 16, 5, 5], b2: [48], w3: [384, 768], b3: [384], w4: [10, 384], b4: [10] }, seed), dimensions: { classes: 10 },
  forward(p, x) {
    const a = maxPool2d(gelu(conv2d(x.reshape([x.shape[0]!, 1, side, side]), p.c1!, p.b1!)), 2).values, b = maxPool2d(gelu(conv2d(a, p.c2!, p.b2!)), 2).values
    return linear(gelu(linear(b.reshape([b.shape[0]!, 768]), p.w3!, p.b3!)), p.w4!, p.b4!)
  },
})
/** One hidden layer. */
export const plain = async (hidden: number, seed: number): Promise<Network<Layers>> => network({
  parameters: await layers({ w1: [hidden, places], b1: [hidden], w2: [10, hidden], b2: [10] }, seed), dimensions: { classes: 10 },
  forward: (p, x) => linear(gelu(linear(x, p.w1!, p.b1!)), p.w2!, p.b2!),
})
