import { adamW, denseWeight, random, realize, relu, type Tensor, type Weight } from "@thimble/core"
import { lotteryTicket, maskModel } from "@thimble/compress"
import { examples, fit, labels, network, type Network } from "@thimble/distill"
import { places, score, type Digits } from "./digits.ts"

/** Linear layers, as what prunes matrices sees them. */
interface Linears {
  readonly weights: Readonly<Record<string, Weight>>
  readonly vectors: Readonly<Record<string, Tensor>>
  with(changed: Readonly<Record<string, Weight | Tensor>>): Linears
}
export const sizes: readonly number[] = [places, 300, 100, 10]

const linears = (weights: Linears["weights"], vectors: Linears["vectors"]): Linears => ({
  weights, vectors,
  with: (changed) => linears(...[weights, vectors].map((own) => Object.fromEntries(Object.entries(own).map(([name, t]) => [name, changed[name] ?? t]))) as [Linears["weights"], Linears["vectors"]]),
})

/** First weights of He's deviation (arXiv 1502.01852), biases of 0. */
async function fresh(seed: number): Promise<Linears> {
  const key = random.key(seed), layers = sizes.slice(1).map((out, i) => [i + 1, out, sizes[i]!] as const)
  const made = linears(
    Object.fromEntries(layers.map(([n, out, into]) => [`w${n}`, denseWeight(random.normal(random.foldIn(key, n), [out, into], { std: Math.sqrt(2 / into) }))])),
    Object.fromEntries(layers.map(([n, out]) => [`b${n}`, random.normal(random.foldIn(key, 10 + n), [out], { std: 0 })])),
  )
  await realize(...Object.values(made.weights).flatMap((w) => Object.values(w.parts())), ...Object.values(made.vectors))
  return made
}

const asNetwork = ({ weights, vectors }: Linears): Network<Pick<Linears, "weights" | "vectors">> => network({
  parameters: { weights, vectors }, dimensions: { classes: 10 },
  forward: (p, x) => sizes.slice(1).reduce((h, _, i) => {
    const y = p.weights[`w${i + 1}`]!.apply(h).add(p.vectors[`b${i + 1}`]!)
    return i + 2 < sizes.length ? relu(y) : y
  }, x),
})

export interface TicketOptions {
  readonly training: Digits
  readonly test: Digits
  readonly seed: number
  /** Times that every training sees every image. */
  readonly epochs: number
  /** The share of weights that is left, after so many rounds. */
  readonly left: number
  readonly rounds: number
}

/** Percent of right answers: with all weights; of a lottery ticket; and in its places from other first weights. */
export async function ticket({ training, test, seed, epochs, left, rounds }: TicketOptions): Promise<{ readonly whole: number; readonly pruned: number; readonly random: number }> {
  const batch = 60, rate = 0.0012, steps = epochs * Math.floor(training.labels.length / batch)
  const train = async (start: Linears): Promise<Linears> => {
    const { model } = await fit({
      model: asNetwork(start), loss: labels(), data: examples({ inputs: training.images, shape: [places], labels: training.labels }, { batch, seed }), optimizer: adamW({ rate, weightDecay: 0 }), steps,
      rate: (step) => rate * 0.5 * (1 + Math.cos((Math.PI * step) / steps)),
    }).finish()
    return linears(model.weights, model.vectors)
  }
  const right = async (m: Linears): Promise<number> => (await score(asNetwork(m), { weights: m.weights, vectors: m.vectors }, test)).percent
  const start = await fresh(seed), whole = await right(await train(maskModel(start, {})))
  const { model, masks } = await lotteryTicket(start, { left, rounds, train })
  return { whole, pruned: await right(await train(model)), random: await right(await train(maskModel(await fresh(seed + 1000), masks))) }
}
